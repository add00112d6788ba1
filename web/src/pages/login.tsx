// SPDX-License-Identifier: Apache-2.0
import { useState } from "preact/hooks";
import { ApiError, ask, type Challenge, type Connector, login, type Ping, ssoStart } from "../api";
import { openedWith } from "../fragment";
import { Door, Field, Form, Note, PasswordField, Title } from "../parts";
import { currentPath, type Path } from "../router";
import { SecondFactor } from "../second_factor";
import { askKey } from "../webauthn";

interface Props {
  ping: Ping;
  note: string;
  onEntered: (to?: Path) => Promise<void>;
}

export function LoginPage({ ping, note, onEntered }: Props) {
  const [username, setUsername] = useState("");
  const [password, setPassword] = useState("");
  const [factors, setFactors] = useState<string[] | null>(null);

  const entered = () => onEntered(currentPath() === "/login" ? "/" : undefined);

  const enter = async () => {
    try {
      await login({ username, password });
    } catch (caught) {
      if (!(caught instanceof ApiError) || caught.code !== "mfa_required") throw caught;
      setFactors([...caught.choices, "recovery_code"]);
      return;
    }
    await entered();
  };

  const enterWithText = async (way: string, text: string) => {
    try {
      await login({ username, password, [way]: text });
    } catch (caught) {
      if (!(caught instanceof ApiError) || caught.status !== 401) throw caught;
      throw new ApiError(
        401,
        "That code is not right, or was used already. Wait for the next one and try again; " +
          "after five failures the name is locked for half an hour.",
      );
    }
    await entered();
  };

  const enterWithKey = async () => {
    const { challenge_id, options } = await ask<Challenge<PublicKeyCredentialRequestOptionsJSON>>(
      "POST",
      "mfa/webauthn/login/begin",
      { username, password },
    );
    const credential = await askKey(options);
    await ask("POST", "mfa/webauthn/login/finish", { challenge_id, credential, cookie: true });
    await entered();
  };

  if (factors) {
    return (
      <Door cluster={ping.cluster_name}>
        <Title focus={false}>Second factor</Title>
        <SecondFactor choices={factors} action="Log in" onText={enterWithText} onKey={enterWithKey} />
        <div class="others">
          <button type="button" class="plain" onClick={() => setFactors(null)}>
            Log in as somebody else
          </button>
        </div>
      </Door>
    );
  }
  return (
    <Door cluster={ping.cluster_name}>
      <Title focus={false}>Log in</Title>
      {note && <Note>{note}</Note>}
      <Form action="Log in" onSubmit={enter}>
        <Field
          label="User name"
          value={username}
          onValue={setUsername}
          autocomplete="username"
          autocapitalize="off"
          spellcheck={false}
          required
          autofocus
        />
        <PasswordField
          label="Password"
          value={password}
          onValue={setPassword}
          autocomplete="current-password"
          required
        />
      </Form>
      <Connectors connectors={ping.connectors} />
    </Door>
  );
}

function Connectors({ connectors }: { connectors: Connector[] }) {
  if (connectors.length === 0) return null;
  const path = returnPath();
  return (
    <div class="connectors">
      <p class="or">
        <span>or</span>
      </p>
      {connectors.map((connector) => (
        <a key={connector.name} class="button" href={ssoStart(connector.name, path)}>
          Continue with {connector.display_name || connector.name}
        </a>
      ))}
    </div>
  );
}

/** Where a provider leads back to. It does not keep what stands behind `#`: the way to an application has an address. */
function returnPath(): string {
  const path = currentPath();
  if (path === "/apps/enter" && openedWith())
    return `/apps/enter/${encodeURIComponent(openedWith())}?again=1`;
  return path === "/login" ? "/" : path;
}
