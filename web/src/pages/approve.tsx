// SPDX-License-Identifier: Apache-2.0
// A session on a node or an application waits for a second factor: what it is, and a touch that lets it go on.

import { useCallback, useEffect, useState } from "preact/hooks";
import { type Challenge, call } from "../api";
import { openedWith, takeFragment } from "../fragment";
import { Failure, Note, Time, Title, useAction } from "../parts";
import { SecondFactor } from "../second_factor";
import { askKey } from "../webauthn";

interface Proof {
  user: string;
  kind: "node" | "app";
  targets: string[];
  needs: string;
  window_seconds: number;
  asked_from: string;
  created_at_ms: number;
  state: "pending" | "proven" | "refused";
  code: string;
  factors: string[];
}

export function ApprovePage() {
  const [id, setId] = useState(openedWith());
  const [proof, setProof] = useState<Proof | null>(null);
  const { busy, error, run, setError } = useAction();

  useEffect(() => {
    // The next address, opened in the same tab, loads no new document.
    const update = () => {
      if (!location.hash) return;
      takeFragment();
      setProof(null);
      setId(openedWith());
    };
    addEventListener("hashchange", update);
    return () => removeEventListener("hashchange", update);
  }, []);

  const path = `proofs/${encodeURIComponent(id)}`;
  const load = useCallback(async () => setProof(await call<Proof>("GET", path)), [path]);
  useEffect(() => {
    setError("");
    if (id) load().catch((caught: Error) => setError(caught.message));
  }, [id, load, setError]);

  const decide = (state: "proven" | "refused") => {
    setProof((before) => before && { ...before, state });
  };
  const withKey = async () => {
    const { challenge_id, options } = await call<Challenge<PublicKeyCredentialRequestOptionsJSON>>(
      "POST",
      `${path}/webauthn/begin`,
      {},
    );
    await call("POST", `${path}/webauthn/finish`, { challenge_id, credential: await askKey(options) });
    decide("proven");
  };
  const withCode = async (code: string) => {
    await call("POST", `${path}/totp`, { code });
    decide("proven");
  };
  const refuse = async () => {
    await call("POST", `${path}/refuse`, {});
    decide("refused");
  };

  if (!id) {
    return (
      <>
        <Title>There is nothing to approve here</Title>
        <p>
          Open the whole address that your terminal shows, with everything behind the <code>#</code>.
        </p>
      </>
    );
  }
  return (
    <>
      <Title>Approve a session</Title>
      <Failure error={error} />
      {proof && <What proof={proof} />}
      {proof?.state === "proven" && <Note>Approved. You can close this page: the session goes on.</Note>}
      {proof?.state === "refused" && (
        <Note>Refused. If it was not you who asked, change your password and tell an administrator.</Note>
      )}
      {proof?.state === "pending" && (
        <section class="card">
          <h2>Does your terminal show the same code?</h2>
          <SecondFactor
            choices={proof.factors}
            action="Approve"
            onText={(_way, text) => withCode(text)}
            onKey={withKey}
          />
          <div class="others">
            <button type="button" class="danger" disabled={busy} onClick={() => void run(refuse)}>
              This was not me
            </button>
          </div>
        </section>
      )}
    </>
  );
}

function What({ proof }: { proof: Proof }) {
  return (
    <section class="card">
      <dl>
        <dt>Code</dt>
        <dd>
          <code class="compare">{proof.code}</code>
        </dd>
        <dt>User</dt>
        <dd>{proof.user}</dd>
        <dt>{proof.kind === "app" ? "Application" : proof.targets.length > 1 ? "Nodes" : "Node"}</dt>
        <dd>
          {proof.targets.map((target) => (
            <span key={target} class="tag">
              {target}
            </span>
          ))}
        </dd>
        <dt>Good for</dt>
        <dd>
          {proof.window_seconds === 0
            ? "one session"
            : `any number of sessions, ${Math.ceil(proof.window_seconds / 60)} min`}
        </dd>
        <dt>Asked from</dt>
        <dd>
          {proof.asked_from}, <Time at={proof.created_at_ms} />
        </dd>
      </dl>
    </section>
  );
}
