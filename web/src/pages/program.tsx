// SPDX-License-Identifier: Apache-2.0
// A program (msh) waits for somebody to log in for it: whether it may act for whoever sits here.

import { useCallback, useEffect, useState } from "preact/hooks";
import { call } from "../api";
import { openedWith } from "../fragment";
import { Failure, Field, Form, Note, Title, useAction } from "../parts";
import { useProof } from "../proof";
import { useSession } from "../session";

interface Question {
  client_ip: string;
  code: string;
}

export function ProgramPage() {
  const { me } = useSession();
  const { ask, dialog } = useProof();
  const { busy, error, run, setError } = useAction();
  const [handle] = useState(openedWith());
  const [code, setCode] = useState("");
  const [question, setQuestion] = useState<Question | null>(null);
  const [note, setNote] = useState("");

  const which = handle ? { login: handle } : { code };
  const look = useCallback(
    async (fields: object) => setQuestion(await call<Question>("POST", "programs/look", fields)),
    [],
  );
  useEffect(() => {
    if (handle) look({ login: handle }).catch((caught: Error) => setError(caught.message));
  }, [handle, look, setError]);

  const decide = async (allow: boolean) => {
    const { redirect } = await ask((proof) =>
      call<{ redirect: string }>("POST", "programs/decide", { ...which, allow, ...proof }),
    );
    setQuestion(null);
    if (redirect) location.assign(redirect);
    setNote(allow ? "The program goes on by itself. You can close this window." : "It gets nothing.");
  };

  return (
    <>
      <Title>Let a program in</Title>
      <Failure error={error} />
      {note && <Note>{note}</Note>}
      {!note && !handle && !question && (
        <section class="card">
          <p>Enter the code that the program shows. Do so only if you have started it yourself.</p>
          <Form action="Continue" onSubmit={() => look({ code })}>
            <Field
              label="Code"
              value={code}
              onValue={setCode}
              autocomplete="off"
              maxLength={16}
              required
              autofocus
            />
          </Form>
        </section>
      )}
      {question && (
        <section class="card">
          <p>
            A program at <strong>{question.client_ip.replace(/:\d+$/, "").replace(/^\[|\]$/g, "")}</strong>
            {question.code && (
              <>
                {" "}
                that shows the code <strong>{question.code}</strong>
              </>
            )}{" "}
            wants certificates. It will act as <strong>{me.user}</strong>.
          </p>
          <p class="hint">
            Somebody who sent you here would act in your name: let in only what you have started yourself.
          </p>
          <div class="actions">
            <button
              type="button"
              class="primary"
              disabled={busy}
              onClick={() => void run(() => decide(true))}
            >
              Let it in
            </button>
            <button type="button" disabled={busy} onClick={() => void run(() => decide(false))}>
              I do not know it
            </button>
          </div>
        </section>
      )}
      {dialog}
    </>
  );
}
