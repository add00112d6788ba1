// SPDX-License-Identifier: Apache-2.0
// Which page is shown: by the address, and by whether somebody is logged in. Who is not sees the login at the address
// of the page they wanted, and that page as soon as they are in.

import type { FunctionComponent } from "preact";
import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import { ping as askPing, me as askWho, type Me, onSessionEnd, type Ping } from "./api";
import { ApprovePage } from "./pages/approve";
import { AppsPage } from "./pages/apps";
import { EnterPage } from "./pages/enter";
import { FactorsPage } from "./pages/factors";
import { InvitePage } from "./pages/invite";
import { LoginPage } from "./pages/login";
import { OverviewPage } from "./pages/overview";
import { PasswordPage } from "./pages/password";
import { ProgramPage } from "./pages/program";
import { SessionsPage } from "./pages/sessions";
import { Door, Failure } from "./parts";
import { navigate, type Path, usePath } from "./router";
import { SessionContext } from "./session";
import { Shell } from "./shell";

const PAGES: Partial<Record<Path, FunctionComponent>> = {
  "/": OverviewPage,
  "/account/factors": FactorsPage,
  "/account/password": PasswordPage,
  "/account/sessions": SessionsPage,
  "/approve": ApprovePage,
  "/apps": AppsPage,
  "/apps/enter": EnterPage,
  "/program": ProgramPage,
};

interface Known {
  ping: Ping;
  me: Me | null;
}

export function App() {
  const path = usePath();
  const [known, setKnown] = useState<Known | null>(null);
  const [error, setError] = useState("");
  const [note, setNote] = useState("");

  const setMe = useCallback((me: Me | null) => setKnown((before) => before && { ...before, me }), []);
  const refresh = useCallback(async () => setMe(await askWho()), [setMe]);

  useEffect(() => {
    onSessionEnd(() => {
      setNote("Your session has ended. Log in to go on.");
      setMe(null);
    });
    Promise.all([askPing(), askWho()])
      .then(([ping, me]) => setKnown({ ping, me }))
      .catch((caught: Error) => setError(caught.message));
  }, [setMe]);

  const session = useMemo(() => {
    if (!known?.me) return null;
    const left = () => {
      setNote("You are logged out.");
      setMe(null);
    };
    return { me: known.me, ping: known.ping, refresh, left };
  }, [known, refresh, setMe]);

  const entered = useCallback(
    async (to?: Path) => {
      setNote("");
      await refresh();
      if (to) navigate(to);
    },
    [refresh],
  );

  if (!known) {
    return (
      <Door cluster="">
        {error ? <Failure error={error} /> : <p class="waiting">One moment …</p>}
        {error && (
          <div class="actions">
            <button type="button" class="primary" onClick={() => location.reload()}>
              Try again
            </button>
          </div>
        )}
      </Door>
    );
  }
  if (path === "/invite") return <InvitePage ping={known.ping} onEntered={entered} />;
  if (!session) return <LoginPage ping={known.ping} note={note} onEntered={entered} />;
  const Page = PAGES[path] ?? OverviewPage;
  return (
    <SessionContext.Provider value={session}>
      <Shell path={path}>
        <Page key={path} />
      </Shell>
    </SessionContext.Provider>
  );
}
