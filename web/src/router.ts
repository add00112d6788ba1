// SPDX-License-Identifier: Apache-2.0
// The address bar. The hub serves the same document at each of these paths (mezite/web/static_pages.py has them too).

import { useEffect, useState } from "preact/hooks";

export const PATHS = [
  "/",
  "/login",
  "/invite",
  "/account/factors",
  "/account/password",
  "/account/sessions",
  "/apps",
  "/apps/enter",
  "/approve",
  "/program",
] as const;

export type Path = (typeof PATHS)[number];

const listeners = new Set<() => void>();

export function currentPath(): Path {
  const path = location.pathname;
  return PATHS.find((known) => known === path) ?? "/";
}

export function navigate(path: Path): void {
  history.pushState(null, "", path);
  for (const listener of listeners) listener();
  window.scrollTo(0, 0);
}

export function usePath(): Path {
  const [path, setPath] = useState(currentPath);
  useEffect(() => {
    const update = () => setPath(currentPath());
    listeners.add(update);
    addEventListener("popstate", update);
    return () => {
      listeners.delete(update);
      removeEventListener("popstate", update);
    };
  }, []);
  return path;
}
