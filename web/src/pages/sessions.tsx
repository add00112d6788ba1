// SPDX-License-Identifier: Apache-2.0
// Where one is logged in.

import { useCallback, useEffect, useState } from "preact/hooks";
import { call, type OwnSession } from "../api";
import { Failure, Time, Title, useAction } from "../parts";
import { useSession } from "../session";

export function SessionsPage() {
  const { left } = useSession();
  const [sessions, setSessions] = useState<OwnSession[] | null>(null);
  const { busy, error, run, setError } = useAction();

  const load = useCallback(async () => {
    setSessions((await call<{ sessions: OwnSession[] }>("GET", "sessions")).sessions);
  }, []);
  useEffect(() => {
    load().catch((caught: Error) => setError(caught.message));
  }, [load, setError]);

  const end = async (session: OwnSession) => {
    await call("DELETE", `sessions/${session.id}`);
    if (session.this) left();
    else await load();
  };
  const others = (sessions ?? []).filter((session) => !session.this);
  const endOthers = async () => {
    // With a browser's session go its sessions at applications: those first, while they are there.
    const inOrder = [...others].sort((one, two) => Number(two.kind === "app") - Number(one.kind === "app"));
    for (const session of inOrder) await call("DELETE", `sessions/${session.id}`);
    await load();
  };

  return (
    <>
      <Title>Sessions</Title>
      <p class="lead">
        Where you are logged in now, at this hub and at applications. End what you do not know, then change
        your password: whoever it was knew it.
      </p>
      <Failure error={error} />
      <ul class="list card" aria-busy={sessions === null}>
        {sessions?.map((session) => (
          <li key={session.id}>
            <div>
              <strong>
                {session.host ?? (session.kind === "web" ? "Browser" : "Command line")}
                {session.this && <span class="tag">this one</span>}
              </strong>
              <p class="hint">
                from {addressOf(session.client_ip)}, since <Time at={session.created_at_ms} />, until{" "}
                <Time at={session.expires_at_ms} />
              </p>
            </div>
            <button
              type="button"
              disabled={busy}
              aria-label={session.this ? "Log out here" : `End the session ${whereOf(session)}`}
              onClick={() => void run(() => end(session))}
            >
              {session.this ? "Log out" : "End"}
            </button>
          </li>
        ))}
      </ul>
      {others.length > 1 && (
        <div class="actions">
          <button type="button" class="danger" disabled={busy} onClick={() => void run(endOthers)}>
            End all others
          </button>
        </div>
      )}
    </>
  );
}

function whereOf(session: OwnSession): string {
  return session.host === null ? `from ${addressOf(session.client_ip)}` : `at ${session.host}`;
}

/** Without the port, which says nothing to people. */
function addressOf(clientIp: string): string {
  return clientIp.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
}
