// SPDX-License-Identifier: Apache-2.0
import { defineConfig } from "vite";

// The dev server hands the API on to a hub, for instance that of `bin/demo`: MEZITE_DEV_HUB=https://localhost:3080.
const hub = process.env.MEZITE_DEV_HUB ?? "https://localhost:3080";

export default defineConfig({
  build: {
    outDir: "../mezite/web/dist",
    emptyOutDir: true,
    // Nothing may be inlined: the policy of the pages allows no data: addresses and no inline code.
    assetsInlineLimit: 0,
    modulePreload: false,
    target: "es2022",
    reportCompressedSize: false,
  },
  server: {
    host: "127.0.0.1",
    // A demo hub has a certificate of its own CA, and knows the names of this machine only.
    proxy: { "/v1": { target: hub, secure: false, ws: true } },
  },
});
