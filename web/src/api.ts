// SPDX-License-Identifier: Apache-2.0
// The web API of the hub, as the pages use it. The session is in a cookie that no script can read; what changes
// something carries the CSRF token of that session.

export type FactorKind = "totp" | "webauthn";

export interface Me {
  user: string;
  roles: string[];
  expires_at_ms: number;
  csrf_token?: string;
  factors_count?: number;
}

export interface Factor {
  id: string;
  kind: FactorKind;
  name: string;
  created_at_ms: number;
  last_used_at_ms: number | null;
}

export interface Factors {
  factors: Factor[];
  recovery_codes_left: number;
}

export interface Enrolled {
  factor: Factor;
  /** Those of somebody who had none yet; shown once. */
  recovery_codes: string[];
}

export interface TotpBegun {
  challenge_id: string;
  secret: string;
  uri: string;
}

/** What a security key is asked. */
export interface Challenge<Options> {
  challenge_id: string;
  options: Options;
}

export interface Connector {
  name: string;
  kind: string;
  display_name: string;
}

export interface Ping {
  cluster_name: string;
  version: string;
  host_ca_pin: string;
  connectors: Connector[];
}

export interface OwnSession {
  id: string;
  kind: "web" | "api" | "app";
  /** Of the application; null for the others. */
  host: string | null;
  created_at_ms: number;
  expires_at_ms: number;
  client_ip: string;
  this: boolean;
}

/** What went wrong, in words for the person at the screen. `status` 0: there was no answer at all. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  /** What would do: kinds of factors, or of proofs. */
  readonly choices: string[];

  constructor(status: number, message: string, code = "", choices: string[] = []) {
    super(message);
    this.status = status;
    this.code = code;
    this.choices = choices;
  }
}

const API = "/v1/webapi/";

let csrfToken = "";
let sessionEnded = (): void => {};

/** Called when a request finds that the session is over. */
export function onSessionEnd(listener: () => void): void {
  sessionEnded = listener;
}

type Method = "GET" | "POST" | "DELETE";

async function send(method: Method, path: string, body?: object): Promise<Response> {
  const headers: Record<string, string> = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET" && csrfToken) headers["X-Mezite-CSRF"] = csrfToken;
  try {
    return await fetch(API + path, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
      redirect: "error",
    });
  } catch {
    throw new ApiError(0, "The hub does not answer. Check your connection, then try again.");
  }
}

async function failure(response: Response): Promise<ApiError> {
  let message = "";
  let code = "";
  let choices: string[] = [];
  try {
    const { error } = await response.json();
    message = String(error.message ?? "");
    code = String(error.code ?? "");
    const listed = error.factors ?? error.proofs;
    choices = Array.isArray(listed) ? listed.map(String) : [];
  } catch {
    // A balancer in between answered in its own words.
  }
  if (response.status === 429 || response.status === 503) {
    const seconds = Number(response.headers.get("Retry-After"));
    if (seconds > 0 && !message.includes("try again")) message += `: try again in ${seconds} s`;
  }
  return new ApiError(
    response.status,
    sentence(message || `the hub answered ${response.status}`),
    code,
    choices,
  );
}

/** The hub's texts begin in lower case and have no full stop, as texts of the command line do. */
function sentence(text: string): string {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?)]$/.test(first) ? first : `${first}.`;
}

async function answer<T>(response: Response): Promise<T> {
  if (!response.ok) throw await failure(response);
  return (await response.json()) as T;
}

/** Ask as whoever is logged in. A session that has ended is told to whoever listens. */
export async function call<T>(method: Method, path: string, body?: object): Promise<T> {
  let response = await send(method, path, body);
  if (response.status === 403 && method !== "GET") {
    // Another tab has logged in since, so the token of this one is an old one.
    const before = csrfToken;
    await me();
    if (csrfToken !== before) response = await send(method, path, body);
  }
  if (response.status === 401) {
    const error = await failure(response);
    // A wrong code is answered so, too: only when nobody is logged in any more is the session over.
    if (error.code === "" && (await me()) === null) sessionEnded();
    throw error;
  }
  return answer<T>(response);
}

/** Ask as nobody: what is refused says nothing about the session. */
export async function ask<T>(method: Method, path: string, body?: object): Promise<T> {
  return answer<T>(await send(method, path, body));
}

/** Who is logged in; null for nobody. */
export async function me(): Promise<Me | null> {
  const response = await send("GET", "me");
  if (response.status === 401) {
    csrfToken = "";
    return null;
  }
  const known = await answer<Me>(response);
  csrfToken = known.csrf_token ?? "";
  return known;
}

export const ping = (): Promise<Ping> => ask<Ping>("GET", "ping");

export const login = (fields: object): Promise<Me> => ask<Me>("POST", "login", { ...fields, cookie: true });

export const ssoStart = (name: string, path: string): string =>
  `${API}sso/${encodeURIComponent(name)}/start?return_to=${encodeURIComponent(path)}`;
