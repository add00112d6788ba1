// SPDX-License-Identifier: Apache-2.0
// The frame of pages that somebody sees who is logged in.

import type { ComponentChildren } from "preact";
import { call } from "./api";
import { Failure, Link, Mark, useAction } from "./parts";
import type { Path } from "./router";
import { useSession } from "./session";

const PLACES: [Path, string][] = [
  ["/", "Overview"],
  ["/apps", "Applications"],
  ["/account/factors", "Second factors"],
  ["/account/password", "Password"],
  ["/account/sessions", "Sessions"],
];

export function Shell({ path, children }: { path: Path; children: ComponentChildren }) {
  const { me, ping, left } = useSession();
  const { busy, error, run } = useAction();
  const logOut = async () => {
    await call("POST", "logout");
    left();
  };
  return (
    <>
      <a class="skip" href="#content">
        Skip to the content
      </a>
      <header class="top">
        <Link to="/" class="brand">
          <Mark />
          <span>mezite</span>
          <span class="cluster">{ping.cluster_name}</span>
        </Link>
        <div class="who">
          <span class="user">{me.user}</span>
          <button type="button" disabled={busy} onClick={() => void run(logOut)}>
            Log out
          </button>
        </div>
        <nav aria-label="Pages">
          {PLACES.map(([to, name]) => (
            <Link key={to} to={to} current={to === path}>
              {name}
            </Link>
          ))}
        </nav>
      </header>
      <main id="content" class="content" tabIndex={-1}>
        <Failure error={error} />
        {children}
      </main>
    </>
  );
}
