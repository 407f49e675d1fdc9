module.exports = {
  defaultNetwork: 'alys',
  solidity: '0.8.28',
  networks: {
    alys: {
      url: process.env.ALYS_RPC,
      accounts: { mnemonic: 'test test test test test test test test test test test junk', initialIndex: 4, count: 2 },
    },
  },
};
