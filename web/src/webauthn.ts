// SPDX-License-Identifier: Apache-2.0
// Security keys and passkeys. The hub speaks JSON, the browser bytes; browsers know how to translate.

import { ApiError } from "./api";

export const hasSecurityKeys = (): boolean =>
  "PublicKeyCredential" in window && "parseRequestOptionsFromJSON" in PublicKeyCredential;

export async function makeKey(options: PublicKeyCredentialCreationOptionsJSON): Promise<object> {
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
  return answered(() => navigator.credentials.create({ publicKey }));
}

export async function askKey(options: PublicKeyCredentialRequestOptionsJSON): Promise<object> {
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
  return answered(() => navigator.credentials.get({ publicKey }));
}

async function answered(ask: () => Promise<Credential | null>): Promise<object> {
  try {
    const credential = await ask();
    if (credential instanceof PublicKeyCredential) return credential.toJSON();
  } catch (caught) {
    const name = caught instanceof DOMException ? caught.name : "";
    if (name === "InvalidStateError")
      throw new ApiError(0, "This security key is enrolled already. Use another one.");
    if (name === "SecurityError")
      throw new ApiError(
        0,
        "The browser allows security keys only at the hub's own address, and with HTTPS.",
      );
  }
  throw new ApiError(
    0,
    "No security key has answered. Plug it in or hold it near, then try again and touch it.",
  );
}
