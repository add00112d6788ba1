// SPDX-License-Identifier: Apache-2.0
// What stands behind `#` in the address: an invite. Browsers do not send it, and we take it out of the address bar.

let fragment = "";

export function takeFragment(): void {
  fragment = location.hash.slice(1);
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
}

/** What stood there when the page was opened. */
export const openedWith = (): string => fragment;
