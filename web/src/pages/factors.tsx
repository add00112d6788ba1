// SPDX-License-Identifier: Apache-2.0
// The second factors of whoever is logged in: enrol, look at, remove.

import { useCallback, useEffect, useState } from "preact/hooks";
import { type Challenge, call, type Enrolled, type Factor, type Factors, type TotpBegun } from "../api";
import { CodeField, Copyable, Failure, Field, Form, Note, Time, Title, useAction } from "../parts";
import { useProof } from "../proof";
import { QrCode } from "../qr_code";
import { useSession } from "../session";
import { hasSecurityKeys, makeKey } from "../webauthn";

export function FactorsPage() {
  const { refresh } = useSession();
  const { ask, dialog } = useProof();
  const [known, setKnown] = useState<Factors | null>(null);
  const [totp, setTotp] = useState<TotpBegun | null>(null);
  const [codes, setCodes] = useState<string[]>([]);
  const [note, setNote] = useState("");
  const { busy, error, run, setError } = useAction();

  const load = useCallback(async () => setKnown(await call<Factors>("GET", "mfa/factors")), []);
  useEffect(() => {
    load().catch((caught: Error) => setError(caught.message));
  }, [load, setError]);

  const changed = async (said: string, recoveryCodes: string[] = []) => {
    const isFirst = known?.factors.length === 0;
    const text = isFirst ? `${said} Your other sessions have ended.` : said;
    setTotp(null);
    setCodes(recoveryCodes);
    setNote(text.charAt(0).toUpperCase() + text.slice(1));
    await load();
    await refresh();
  };

  const beginTotp = async () => {
    setNote("");
    setTotp(await ask((proof) => call<TotpBegun>("POST", "mfa/totp/begin", proof)));
  };

  const addKey = async () => {
    setNote("");
    const { challenge_id, options } = await ask((proof) =>
      call<Challenge<PublicKeyCredentialCreationOptionsJSON>>("POST", "mfa/webauthn/register/begin", proof),
    );
    const credential = await makeKey(options);
    const made = await call<Enrolled>("POST", "mfa/webauthn/register/finish", { challenge_id, credential });
    await changed(`${made.factor.name || "The security key"} is enrolled.`, made.recovery_codes);
  };

  const remove = async (factor: Factor) => {
    setNote("");
    await ask((proof) => call("DELETE", `mfa/factors/${encodeURIComponent(factor.id)}`, proof));
    await changed(`${factor.name} is removed.`);
  };

  const renewCodes = async () => {
    setNote("");
    const made = await ask((proof) => call<{ codes: string[] }>("POST", "mfa/recovery-codes", proof));
    await changed("The codes from before are worth nothing any more.", made.codes);
  };

  const factors = known?.factors ?? [];
  return (
    <>
      <Title>Second factors</Title>
      <p class="lead">
        With a second factor your password alone lets nobody in. Two are better than one: a key can be lost.
      </p>
      <Failure error={error} />
      {note && <Note>{note}</Note>}
      {codes.length > 0 && <RecoveryCodes codes={codes} onDone={() => setCodes([])} />}
      {factors.length > 0 && (
        <ul class="list card">
          {factors.map((factor) => (
            <li key={factor.id}>
              <div>
                <strong>{factor.name}</strong>
                <p class="hint">
                  {factor.kind === "totp" ? "Authenticator app" : "Security key or passkey"}, since{" "}
                  <Time at={factor.created_at_ms} />
                  {factor.last_used_at_ms !== null && (
                    <>
                      , last used <Time at={factor.last_used_at_ms} />
                    </>
                  )}
                </p>
              </div>
              <button
                type="button"
                class="danger"
                disabled={busy}
                aria-label={`Remove ${factor.name}`}
                onClick={() => void run(() => remove(factor))}
              >
                Remove
              </button>
            </li>
          ))}
        </ul>
      )}
      {totp && <EnrolTotp begun={totp} onDone={changed} onCancel={() => setTotp(null)} />}
      {!totp && known && (
        <section class="card">
          <h2>{factors.length === 0 ? "Add your first factor" : "Add another"}</h2>
          <div class="actions">
            {hasSecurityKeys() && (
              <button type="button" class="primary" disabled={busy} onClick={() => void run(addKey)}>
                Security key or passkey
              </button>
            )}
            <button type="button" disabled={busy} onClick={() => void run(beginTotp)}>
              Authenticator app
            </button>
          </div>
          <p class="hint">
            A security key cannot be tricked by a copy of this page. An authenticator app works on every
            device.
          </p>
        </section>
      )}
      {factors.length > 0 && (
        <section class="card">
          <h2>Recovery codes</h2>
          <p>
            {known?.recovery_codes_left === 0
              ? "You have none left. Make new ones while you still can log in."
              : `You have ${known?.recovery_codes_left} left. Each lets you in once, without the factor.`}
          </p>
          <div class="actions">
            <button type="button" disabled={busy} onClick={() => void run(renewCodes)}>
              Make new codes
            </button>
          </div>
        </section>
      )}
      {dialog}
    </>
  );
}

interface EnrolProps {
  begun: TotpBegun;
  onDone: (note: string, recoveryCodes: string[]) => Promise<void>;
  onCancel: () => void;
}

function EnrolTotp({ begun, onDone, onCancel }: EnrolProps) {
  const [code, setCode] = useState("");
  const [name, setName] = useState("");
  const finish = async () => {
    const made = await call<Enrolled>("POST", "mfa/totp/finish", {
      challenge_id: begun.challenge_id,
      code,
      ...(name ? { name } : {}),
    });
    await onDone(`${made.factor.name || "The app"} is enrolled.`, made.recovery_codes);
  };
  return (
    <section class="card enrol">
      <h2>Add an authenticator app</h2>
      <div class="scan">
        <QrCode text={begun.uri} label="QR code for the authenticator app" />
        <div class="beside">
          <p>Scan this code with your app. If you cannot, type the secret in:</p>
          <Copyable text={begun.secret} label="the secret" />
        </div>
      </div>
      <Form
        action="Enrol"
        onSubmit={finish}
        aside={
          <button type="button" onClick={onCancel}>
            Cancel
          </button>
        }
      >
        <CodeField value={code} onValue={setCode} autofocus />
        <Field
          label="Name, if you like"
          value={name}
          onValue={setName}
          placeholder="telephone"
          maxLength={64}
        />
      </Form>
    </section>
  );
}

function RecoveryCodes({ codes, onDone }: { codes: string[]; onDone: () => void }) {
  return (
    <section class="card codes">
      <h2>Your recovery codes</h2>
      <p>
        They are shown this once. Print them or keep them in a password manager: each lets you in once, when
        your factor is lost.
      </p>
      <ul>
        {codes.map((code) => (
          <li key={code}>
            <code>{code}</code>
          </li>
        ))}
      </ul>
      <div class="actions">
        <button type="button" class="primary" onClick={onDone}>
          I have kept them
        </button>
        <button type="button" onClick={() => void navigator.clipboard.writeText(codes.join("\n"))}>
          Copy all
        </button>
        <button type="button" onClick={() => print()}>
          Print
        </button>
      </div>
    </section>
  );
}
