// SPDX-License-Identifier: Apache-2.0
// The first password, with the invite that stands behind `#` in the link.

import { useState } from "preact/hooks";
import { ApiError, ask, login, type Ping } from "../api";
import { openedWith } from "../fragment";
import { Door, Form, Link, PasswordField, Title } from "../parts";
import type { Path } from "../router";

export const MIN_PASSWORD = 12;

interface Props {
  ping: Ping;
  onEntered: (to?: Path) => Promise<void>;
}

export function InvitePage({ ping, onEntered }: Props) {
  const [password, setPassword] = useState("");
  const [again, setAgain] = useState("");

  if (!openedWith()) {
    return (
      <Door cluster={ping.cluster_name}>
        <Title>This link has no invite in it</Title>
        <p>
          Open the whole link that you were given, with everything behind the <code>#</code>. If you have used
          it already, <Link to="/">log in</Link>.
        </p>
      </Door>
    );
  }

  const accept = async () => {
    if (password !== again) throw new ApiError(400, "The two passwords differ. Type the same one twice.");
    const { user } = await ask<{ user: string }>("POST", "invites/accept", { token: openedWith(), password });
    await login({ username: user, password });
    await onEntered("/");
  };

  return (
    <Door cluster={ping.cluster_name}>
      <Title focus={false}>Choose a password</Title>
      <p>You have been invited to this cluster. The link works once.</p>
      <Form action="Set password and log in" onSubmit={accept}>
        <NewPassword
          password={password}
          onPassword={setPassword}
          again={again}
          onAgain={setAgain}
          autofocus
        />
      </Form>
    </Door>
  );
}

interface NewPasswordProps {
  autofocus?: boolean;
  password: string;
  onPassword: (text: string) => void;
  again: string;
  onAgain: (text: string) => void;
}

export function NewPassword({ password, onPassword, again, onAgain, autofocus = false }: NewPasswordProps) {
  const missing = MIN_PASSWORD - [...password].length;
  const hint =
    password === ""
      ? `At least ${MIN_PASSWORD} characters. A few words in a row are easy to keep in mind.`
      : missing > 0
        ? `${missing} more`
        : "Long enough";
  return (
    <>
      <PasswordField
        label="New password"
        value={password}
        onValue={onPassword}
        hint={hint}
        autocomplete="new-password"
        minLength={MIN_PASSWORD}
        maxLength={1024}
        required
        autofocus={autofocus}
      />
      <PasswordField
        label="The same again"
        value={again}
        onValue={onAgain}
        autocomplete="new-password"
        required
      />
    </>
  );
}
