// SPDX-License-Identifier: Apache-2.0
// The applications that the user may use.

import { useEffect, useState } from "preact/hooks";
import { call } from "../api";
import { Copyable, Failure, Field, Title, useAction } from "../parts";

interface App {
  name: string;
  protocol: "http" | "tcp";
  url: string | null;
  public_addr: string | null;
  labels: Record<string, string>;
  status: keyof typeof STATES;
  health: keyof typeof HEALTH | null;
}

const STATES = {
  online: "online",
  offline: "offline: no agent of it is connected",
  disabled: "disabled by an administrator",
  no_agents: "not bound to an agent yet",
};

const HEALTH = {
  healthy: "healthy",
  degraded: "works in part",
  unhealthy: "does not answer as it should",
  unknown: "health not known yet",
};

export function AppsPage() {
  const [apps, setApps] = useState<App[] | null>(null);
  const [search, setSearch] = useState("");
  const { error, setError } = useAction();

  useEffect(() => {
    call<{ apps: App[] }>("GET", "apps")
      .then((answer) => setApps(answer.apps))
      .catch((caught: Error) => setError(caught.message));
  }, [setError]);

  const found = (apps ?? []).filter((app) => matches(app, search));
  return (
    <>
      <Title>Applications</Title>
      <p class="lead">What your roles open to you. Each application opens in a tab of its own.</p>
      <Failure error={error} />
      {apps !== null && apps.length > 0 && (
        <Field label="Search" value={search} onValue={setSearch} placeholder="a name, or env=prod" />
      )}
      {apps?.length === 0 && (
        <p class="note">
          There is none for you yet: an administrator registers applications and opens them by roles.
        </p>
      )}
      {apps !== null && apps.length > 0 && found.length === 0 && <p class="note">None matches “{search}”.</p>}
      <ul class="list card" aria-busy={apps === null} hidden={found.length === 0}>
        {found.map((app) => (
          <Tile key={app.name} app={app} />
        ))}
      </ul>
    </>
  );
}

function Tile({ app }: { app: App }) {
  const launches = app.url !== null && app.status === "online";
  return (
    <li>
      <div>
        <strong>
          {app.name}
          <span class={`tag ${app.status}`}>{STATES[app.status]}</span>
          {app.status === "online" && app.health !== null && (
            <span class={`tag ${app.health}`}>{HEALTH[app.health]}</span>
          )}
        </strong>
        <p class="hint">{app.public_addr ?? "TCP: reached with a program on your own machine"}</p>
        <p>
          {Object.entries(app.labels).map(([key, value]) => (
            <span key={key} class="tag">
              {key}={value}
            </span>
          ))}
        </p>
        {app.protocol === "tcp" && (
          <Copyable text={`msh app login ${app.name}`} label={`the command that opens ${app.name}`} />
        )}
      </div>
      {launches && (
        <a
          class="button primary"
          href={app.url ?? ""}
          target="_blank"
          rel="noreferrer"
          aria-label={`Launch ${app.name}`}
        >
          Launch
        </a>
      )}
    </li>
  );
}

/** Every word is part of the name, the address or a label. */
function matches(app: App, search: string): boolean {
  const labels = Object.entries(app.labels).map(([key, value]) => `${key}=${value}`);
  const text = [app.name, app.public_addr ?? "", ...labels].join(" ").toLowerCase();
  return search
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}
