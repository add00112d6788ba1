// SPDX-License-Identifier: Apache-2.0
// A new password for whoever is logged in: with the old one and, of who has one, a second factor.

import { useState } from "preact/hooks";
import { ApiError, call } from "../api";
import { Form, Note, PasswordField, Title } from "../parts";
import { useProof } from "../proof";
import { NewPassword } from "./invite";

export function PasswordPage() {
  const { ask, dialog } = useProof();
  const [old, setOld] = useState("");
  const [password, setPassword] = useState("");
  const [again, setAgain] = useState("");
  const [note, setNote] = useState("");

  const change = async () => {
    setNote("");
    if (password !== again) throw new ApiError(400, "The two passwords differ. Type the same one twice.");
    await ask((proof) => call("POST", "password", { old_password: old, new_password: password, ...proof }));
    setOld("");
    setPassword("");
    setAgain("");
    setNote("Your password is changed. Your other sessions have ended.");
  };

  return (
    <>
      <Title>Password</Title>
      <p class="lead">
        With a new password you are logged out everywhere else. What <code>msh login</code> has got is good
        until it ends.
      </p>
      {note && <Note>{note}</Note>}
      <section class="card">
        <Form action="Change password" onSubmit={change}>
          <PasswordField
            label="Old password"
            value={old}
            onValue={setOld}
            autocomplete="current-password"
            required
          />
          <NewPassword password={password} onPassword={setPassword} again={again} onAgain={setAgain} />
        </Form>
      </section>
      {dialog}
    </>
  );
}
