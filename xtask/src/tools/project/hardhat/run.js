const assert = require('node:assert/strict');
const fs = require('node:fs');
const hre = require('hardhat');

async function main() {
  const { provider } = hre.network;
  const request = (method, params = []) => provider.request({ method, params });
  const [from, to] = await request('eth_accounts');
  console.log(`ok accounts of the network's configuration on chain ${Number(await request('eth_chainId'))}`);
  const counter = JSON.parse(fs.readFileSync('../out/Counter.sol/Counter.json', 'utf8'));
  const mined = async (hash) => {
    for (let tries = 0; tries < 300; tries += 1) {
      const receipt = await request('eth_getTransactionReceipt', [hash]);
      if (receipt) return receipt;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`${hash} is in no block`);
  };
  const transfer = await mined(await request('eth_sendTransaction', [{ from, to, value: '0x7' }]));
  assert.equal(transfer.status, '0x1');
  console.log('ok transfer, signed by hardhat');
  const data = counter.bytecode.object + '7'.padStart(64, '0');
  const deployed = await mined(await request('eth_sendTransaction', [{ from, data }]));
  assert.equal(Number(await request('eth_call', [{ to: deployed.contractAddress, data: '0x3fa4f245' }, 'latest'])), 7);
  console.log('ok deploy and call');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
