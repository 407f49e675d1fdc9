import { ethers } from 'ethers';
import { assert, counter, mnemonic, socket, url, within, worked } from './common.mjs';

const provider = new ethers.WebSocketProvider(socket);
const path = "m/44'/60'/0'/0/3";
const wallet = ethers.HDNodeWallet.fromPhrase(mnemonic, '', path).connect(provider);
const factory = new ethers.ContractFactory(counter.abi, counter.bytecode.object, wallet);
const contract = await factory.deploy(3);
await within(contract.waitForDeployment());
worked(`deploy ${await contract.getAddress()}`);
const event = new Promise((resolve) => contract.on('Bumped', (who, value) => resolve({ who, value })));
const block = new Promise((resolve) => provider.once('block', resolve));
await within(block);
worked('block events over WebSocket');
const sent = await contract.bump();
const receipt = await within(sent.wait());
assert.equal(receipt.type, 2);
worked('EIP-1559 transaction');
const seen = await within(event);
assert.deepEqual([seen.who, seen.value], [wallet.address, 4n]);
worked('contract event over WebSocket');
await assert.rejects(contract.fail.staticCall(), (error) => error.reason === 'never');
worked('the reason of a revert');

// Another sponsor sends what this wallet delegates.
const sponsor = ethers.HDNodeWallet.fromPhrase(mnemonic, '', "m/44'/60'/0'/0/5").connect(provider);
const authorization = await wallet.authorize({ address: await contract.getAddress() });
const delegated = await sponsor.sendTransaction({
  type: 4, to: wallet.address, authorizationList: [authorization], data: contract.interface.encodeFunctionData('bump'),
});
assert.equal((await within(delegated.wait())).type, 4);
assert.ok((await provider.getCode(wallet.address)).startsWith('0xef0100'));
worked('EIP-7702 transaction by a sponsor');

// Its HTTP provider sends up to a hundred calls in one batch.
const http = new ethers.JsonRpcProvider(url);
const balances = await within(Promise.all(Array.from({ length: 100 }, () => http.getBalance(wallet.address, 'finalized'))));
assert.equal(balances.length, 100);
worked('a hundred calls in one batch');
process.exit(0);
