"use strict";
// Reads what the same listener serves: /metrics and /readyz.
const rows = [
  ["Head", /^alys_chain_height\{.*tag="head"/], ["Safe", /^alys_chain_height\{.*tag="safe"/],
  ["Finalized", /^alys_chain_height\{.*tag="finalized"/], ["Peers of this chain", /^alys_p2p_peers_ready(\{| )/],
  ["May sign", /^alys_sync_may_sign(\{| )/], ["Signatures of this key made elsewhere", /^alys_signer_doppelganger(\{| )/],
  ["Work queued", /^alys_auxpow_queued(\{| )/], ["Work recorded", /^alys_auxpow_records(\{| )/],
  ["Supply beside the peg's books (wei)", /^alys_supply_invariant_wei(\{| )/],
  ["Safety violations", /^alys_chain_safety_violations_total(\{| )/],
];
const tables = [["actors", /^alys_actor_(restarts_total|inbox_depth)\{/], ["anomalies", /^alys_anomaly\{/]];
function fill(id, entries) {
  const body = document.getElementById(id);
  body.replaceChildren(...entries.map((cells) => {
    const row = document.createElement("tr");
    row.append(...cells.map((text) => {
      const cell = document.createElement("td");
      cell.textContent = text;
      return cell;
    }));
    return row;
  }));
}
async function refresh() {
  const state = document.getElementById("state");
  try {
    const [ready, metrics] = await Promise.all([fetch("/readyz"), fetch("/metrics")]);
    state.textContent = (await ready.text()).trim();
    state.className = ready.ok ? "good" : "bad";
    const lines = (await metrics.text()).split("\n").filter((line) => !line.startsWith("#"));
    const value = (line) => line.slice(line.lastIndexOf(" ") + 1);
    fill("chain", rows.map(([name, which]) => {
      const line = lines.find((line) => which.test(line));
      return [name, line === undefined ? "–" : value(line)];
    }));
    for (const [id, which] of tables) {
      fill(id, lines.filter((line) => which.test(line)).map((line) => [line.slice(0, line.lastIndexOf(" ")), value(line)]));
    }
  } catch (error) {
    state.textContent = "the node does not answer";
    state.className = "bad";
  }
}
refresh();
setInterval(refresh, 2000);
