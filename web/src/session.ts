// SPDX-License-Identifier: Apache-2.0
// Who is logged in, for all pages.

import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Me, Ping } from "./api";

export interface Session {
  me: Me;
  ping: Ping;
  /** Ask the hub again who one is: the number of factors has changed, say. */
  refresh: () => Promise<void>;
  /** The session is over, by the user's own doing. */
  left: () => void;
}

export const SessionContext = createContext<Session | null>(null);

/** The session of a page that is only shown to somebody who is logged in. */
export function useSession(): Session {
  const session = useContext(SessionContext);
  if (!session) throw new Error("this page is for users who are logged in");
  return session;
}
