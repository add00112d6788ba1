// SPDX-License-Identifier: Apache-2.0
// One form for a second factor, for logging in and for proving again that it is you.

import { useState } from "preact/hooks";
import { CodeField, Field, Form, PasswordField } from "./parts";
import { hasSecurityKeys } from "./webauthn";

export type Way = "webauthn" | "totp" | "recovery_code" | "password";

const NAMES: Record<Way, string> = {
  webauthn: "security key or passkey",
  totp: "authenticator app",
  recovery_code: "recovery code",
  password: "password",
};

const ORDER: Way[] = ["webauthn", "totp", "password", "recovery_code"];

interface Props {
  choices: string[];
  action: string;
  /** A code, a recovery code or a password was typed. */
  onText: (way: Exclude<Way, "webauthn">, text: string) => Promise<void>;
  onKey: () => Promise<void>;
}

export function SecondFactor({ choices, action, onText, onKey }: Props) {
  const ways = ORDER.filter((way) => choices.includes(way) && (way !== "webauthn" || hasSecurityKeys()));
  const [chosen, setWay] = useState<Way | null>(null);
  const [text, setText] = useState("");
  const way = chosen ?? ways[0];
  if (!way) {
    return <p>This browser cannot use your security key. Use another browser, or ask an administrator.</p>;
  }
  const others = ways.filter((other) => other !== way);
  const submit = () => (way === "webauthn" ? onKey() : onText(way, text.trim()));
  return (
    <>
      <Form key={way} action={way === "webauthn" ? "Use the security key" : action} onSubmit={submit}>
        {way === "webauthn" && (
          <p>Touch your security key, or confirm with your passkey, when the browser asks.</p>
        )}
        {way === "totp" && <CodeField value={text} onValue={setText} autofocus />}
        {way === "recovery_code" && (
          <Field
            label="Recovery code"
            value={text}
            onValue={setText}
            hint="One of the codes that you wrote down when you enrolled. Each works once."
            placeholder="abcd-efgh-ijkl-mnop"
            autocomplete="off"
            autocapitalize="off"
            spellcheck={false}
            required
            autofocus
          />
        )}
        {way === "password" && (
          <PasswordField
            label="Your password"
            value={text}
            onValue={setText}
            autocomplete="current-password"
            required
            autofocus
          />
        )}
      </Form>
      {others.length > 0 && (
        <div class="others">
          {others.map((other) => (
            <button
              key={other}
              type="button"
              class="plain"
              onClick={() => {
                setText("");
                setWay(other);
              }}
            >
              Use {other === "password" ? "your" : "a"}
              {other === "totp" ? "n" : ""} {NAMES[other]} instead
            </button>
          ))}
        </div>
      )}
    </>
  );
}
