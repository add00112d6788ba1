// SPDX-License-Identifier: Apache-2.0
// On the way to an application: whoever has logged in goes on at once, or after a second factor if roles ask for one.

import { useEffect, useState } from "preact/hooks";
import { type Challenge, call } from "../api";
import { openedWith } from "../fragment";
import { Failure, Link, Title, useAction } from "../parts";
import { SecondFactor } from "../second_factor";
import { askKey } from "../webauthn";

interface Entry {
  app: string;
  /** What waits for a factor; nothing when none is needed. */
  proof?: { id: string; factors: string[] };
}

export function EnterPage() {
  const key = openedWith();
  const [entry, setEntry] = useState<Entry | null>(null);
  const { error, setError } = useAction();

  useEffect(() => {
    if (!key) return;
    call<Entry>("POST", `apps/entries/${encodeURIComponent(key)}`, {})
      .then((found) => (found.proof ? setEntry(found) : goOn(key)))
      .catch((caught: Error) => setError(caught.message));
  }, [key, setError]);

  if (!key || error) {
    return (
      <>
        <Title>This way is over</Title>
        <Failure error={error} />
        <p>
          Open the application again, or choose it from <Link to="/apps">your applications</Link>.
        </p>
      </>
    );
  }
  if (!entry?.proof) {
    return (
      <>
        <Title>On to the application</Title>
        <p class="waiting">One moment …</p>
      </>
    );
  }
  const path = `proofs/${encodeURIComponent(entry.proof.id)}`;
  const withKey = async () => {
    const { challenge_id, options } = await call<Challenge<PublicKeyCredentialRequestOptionsJSON>>(
      "POST",
      `${path}/webauthn/begin`,
      {},
    );
    await call("POST", `${path}/webauthn/finish`, { challenge_id, credential: await askKey(options) });
    goOn(key);
  };
  const withCode = async (code: string) => {
    await call("POST", `${path}/totp`, { code });
    goOn(key);
  };
  return (
    <>
      <Title>{`On to ${entry.app}`}</Title>
      <section class="card">
        <h2>A second factor, please</h2>
        <p>Your roles ask for one before each session at this application.</p>
        <SecondFactor
          choices={entry.proof.factors}
          action="Continue"
          onText={(_way, text) => withCode(text)}
          onKey={withKey}
        />
      </section>
    </>
  );
}

/** To the hub's own page, which hands over to the application. */
function goOn(key: string): void {
  location.replace(`/apps/enter/${encodeURIComponent(key)}`);
}
