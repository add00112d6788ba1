// SPDX-License-Identifier: Apache-2.0
// Goes on without a click; what stood behind # in the address comes along, for it is the application's.

const onward = document.getElementById("onward");
if (onward instanceof HTMLFormElement) {
  onward.action += location.hash;
  onward.submit();
} else {
  location.replace(onward.href + location.hash);
}
