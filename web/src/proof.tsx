// SPDX-License-Identifier: Apache-2.0
// What changes how somebody gets in needs a fresh proof that it is they: the hub says so, and this asks for it.

import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, type Challenge, call } from "./api";
import { SecondFactor } from "./second_factor";
import { askKey } from "./webauthn";

export interface WithProof {
  proof?: object;
}

interface Pending {
  choices: string[];
  attempt: (proof: object) => Promise<void>;
  cancel: () => void;
}

/** `ask(action)` runs the action, and when the hub wants a proof, once more with it. */
export function useProof() {
  const [pending, setPending] = useState<Pending | null>(null);

  async function ask<T>(action: (fields: WithProof) => Promise<T>): Promise<T> {
    try {
      return await action({});
    } catch (caught) {
      if (!(caught instanceof ApiError) || caught.code !== "proof_required") throw caught;
      if (caught.choices.includes("login")) {
        throw new ApiError(
          403,
          "This needs a fresh login: log out, log in again, and do it within five minutes.",
        );
      }
      const { choices } = caught;
      return new Promise<T>((resolve, reject) => {
        setPending({
          choices,
          attempt: async (proof) => {
            const done = await action({ proof });
            setPending(null);
            resolve(done);
          },
          cancel: () => {
            setPending(null);
            reject(new ApiError(0, "Nothing was changed: you did not confirm that it is you."));
          },
        });
      });
    }
  }

  return { ask, dialog: pending && <ProofDialog {...pending} /> };
}

function ProofDialog({ choices, attempt, cancel }: Pending) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);

  const again = async (proof: object) => {
    try {
      await attempt(proof);
    } catch (caught) {
      if (caught instanceof ApiError && caught.code === "proof_required") {
        throw new ApiError(403, "That is not right, or was used already. Try again.");
      }
      throw caught;
    }
  };
  const withKey = async () => {
    const { challenge_id, options } = await call<Challenge<PublicKeyCredentialRequestOptionsJSON>>(
      "POST",
      "mfa/webauthn/proof/begin",
      {},
    );
    await again({ webauthn: { challenge_id, credential: await askKey(options) } });
  };

  return (
    <dialog ref={dialog} class="card" aria-labelledby="proof-title" onCancel={cancel}>
      <h2 id="proof-title">Confirm that it is you</h2>
      <SecondFactor
        choices={choices}
        action="Confirm"
        onText={(way, text) => again({ [way]: text })}
        onKey={withKey}
      />
      <div class="others">
        <button type="button" class="plain" onClick={cancel}>
          Cancel
        </button>
      </div>
    </dialog>
  );
}
