// SPDX-License-Identifier: Apache-2.0
// Goes on without a click; what stood behind # in the address comes along, for it is the application's. Logging in leads
// through other addresses, and perhaps other sites: over that it stays in this tab, under the key of this one visit.

const onward = document.getElementById("onward");
const visit = location.pathname;
if (onward instanceof HTMLFormElement) {
  onward.action += location.hash || kept();
  onward.submit();
} else {
  keep();
  location.replace(onward.href + location.hash);
}

function keep() {
  try {
    if (location.hash) sessionStorage.setItem(visit, location.hash);
  } catch {
    // Without storage the way on is the same, but for what stood behind #.
  }
}

function kept() {
  try {
    const hash = sessionStorage.getItem(visit) ?? "";
    sessionStorage.removeItem(visit);
    return hash;
  } catch {
    return "";
  }
}
