import { createPublicClient, createWalletClient, defineChain, encodeFunctionData, http, parseGwei, webSocket } from 'viem';
import { mnemonicToAccount } from 'viem/accounts';
import { assert, counter, mnemonic, socket, url, within, worked } from './common.mjs';

const id = Number(await (await fetch(url, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'eth_chainId' }),
})).json().then((answer) => answer.result));
const chain = defineChain({
  id, name: 'alys', nativeCurrency: { name: 'BTC', symbol: 'BTC', decimals: 18 }, rpcUrls: { default: { http: [url] } },
});
const account = mnemonicToAccount(mnemonic, { addressIndex: 2 });
const reader = createPublicClient({ chain, transport: webSocket(socket) });
const wallet = createWalletClient({ chain, account, transport: http(url) });

const deployed = await reader.waitForTransactionReceipt({
  hash: await wallet.deployContract({ abi: counter.abi, bytecode: counter.bytecode.object, args: [10n] }),
});
assert.equal(deployed.status, 'success');
const address = deployed.contractAddress;
worked(`deploy ${address}`);

let stop;
const event = new Promise((resolve) => {
  stop = reader.watchContractEvent({ address, abi: counter.abi, eventName: 'Bumped', onLogs: (logs) => resolve(logs[0].args) });
});
const blocks = new Promise((resolve) => {
  const end = reader.watchBlocks({ onBlock: (block) => { end(); resolve(block.number); } });
});
await within(blocks);
worked('watchBlocks over WebSocket');
const bump = await wallet.writeContract({
  address, abi: counter.abi, functionName: 'bump', value: 1n, maxFeePerGas: parseGwei('30'), maxPriorityFeePerGas: parseGwei('2'),
});
const bumped = await reader.waitForTransactionReceipt({ hash: bump });
assert.equal(bumped.type, 'eip1559');
worked('EIP-1559 transaction');
assert.equal((await within(event)).value, 11n);
stop();
worked('watchContractEvent over WebSocket');
assert.equal(await reader.readContract({ address, abi: counter.abi, functionName: 'value' }), 11n);
await assert.rejects(reader.simulateContract({ address, abi: counter.abi, functionName: 'fail', account }), /never/);
worked('readContract, and the reason of a revert');
const logs = await reader.getContractEvents({ address, abi: counter.abi, fromBlock: 0n });
assert.equal(logs.length, 1);
worked('getContractEvents');

const authorization = await wallet.signAuthorization({ contractAddress: address, executor: 'self' });
const delegated = await reader.waitForTransactionReceipt({
  hash: await wallet.sendTransaction({
    to: account.address, authorizationList: [authorization], data: encodeFunctionData({ abi: counter.abi, functionName: 'bump' }),
  }),
});
assert.equal(delegated.type, 'eip7702');
assert.equal((await reader.getCode({ address: account.address })).toLowerCase(), `0xef0100${address.slice(2).toLowerCase()}`);
assert.equal(delegated.logs.length, 1);
worked('EIP-7702 transaction');
process.exit(0);
