import { assert, url, worked } from './common.mjs';

const account = '0x70997970C51812dc3A010C7d01b50e0d17dc79C8';
// What the wallet asks when a network is added, an account is shown and a transfer is made.
const calls = [
  ['eth_chainId', []],
  ['net_version', []],
  ['web3_clientVersion', []],
  ['eth_syncing', []],
  ['net_listening', []],
  ['eth_accounts', []],
  ['eth_blockNumber', []],
  ['eth_getBlockByNumber', ['latest', false]],
  ['eth_getBlockByNumber', ['finalized', true]],
  ['eth_gasPrice', []],
  ['eth_maxPriorityFeePerGas', []],
  ['eth_feeHistory', ['0x5', 'latest', [10, 50, 90]]],
  ['eth_getBalance', [account, 'latest']],
  ['eth_getTransactionCount', [account, 'pending']],
  ['eth_getCode', [account, 'latest']],
  ['eth_estimateGas', [{ from: account, to: account, value: '0x1' }]],
  ['eth_call', [{ to: account, data: '0x70a08231' }, 'latest']],
  ['eth_getLogs', [{ fromBlock: 'latest', toBlock: 'latest' }]],
  ['eth_getBlockReceipts', ['latest']],
];
for (const [method, params] of calls) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', origin: 'chrome-extension://nkbihfbeogaeaoehlefnkodbefgpgknn' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
  });
  assert.equal(response.headers.get('access-control-allow-origin'), 'chrome-extension://nkbihfbeogaeaoehlefnkodbefgpgknn');
  const answer = await response.json();
  assert.equal(answer.error, undefined, `${method}: ${JSON.stringify(answer.error)}`);
  assert.notEqual(answer.result, undefined, method);
}
worked(`${calls.length} calls of the wallet's provider, with its origin`);
