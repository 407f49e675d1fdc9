// Compiles Bridge.sol with the pinned compiler and writes, or with --check compares, the committed artifacts:
//   bridge.runtime.hex   runtime bytecode as genesis carries it (hex with 0x, one line)
//   bridge.abi.json      the ABI
//
//   node crates/alys-evm/contracts/build.mjs            write them
//   node crates/alys-evm/contracts/build.mjs --check    exit 1 when they differ from what the source gives
//
// Exit codes: 0 done, 1 the artifacts differ or the source does not compile, 2 wrong usage or no compiler.
// The compiler is installed from npm into a cache folder outside the repository: $ALYS_CACHE_DIR, else
// $XDG_CACHE_HOME/alys, else ~/.cache/alys. Only its soljson.js is loaded, and only when its SHA-256 is the pinned one,
// so the packages that come along with it are never executed.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SOLC_VERSION = '0.8.37';
const SOLC_LONG_VERSION = '0.8.37+commit.f401782d.Emscripten.clang';
const SOLJSON_SHA256 = '221d7a667378b5068d913e75fe092507e061363cd1d23b64c49ae82febabad4c';

const SETTINGS = {
  evmVersion: 'prague',
  optimizer: { enabled: true, runs: 200 },
  viaIR: false,
  metadata: { bytecodeHash: 'none', appendCBOR: false },
  outputSelection: { 'Bridge.sol': { Bridge: ['abi', 'evm.deployedBytecode'] } },
};

const here = dirname(fileURLToPath(import.meta.url));

class Failure extends Error {
  constructor(code, message, help) {
    super(message);
    this.code = code;
    this.help = help;
  }
}

function cacheDirectory() {
  if (process.env.ALYS_CACHE_DIR) return process.env.ALYS_CACHE_DIR;
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'alys');
}

function compilerPath() {
  const prefix = join(cacheDirectory(), `solc-${SOLC_VERSION}`);
  const soljson = join(prefix, 'node_modules', 'solc', 'soljson.js');
  if (!existsSync(soljson)) {
    mkdirSync(prefix, { recursive: true });
    const flags = ['--no-save', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
    try {
      execFileSync('npm', ['install', '--prefix', prefix, ...flags, `solc@${SOLC_VERSION}`], {
        stdio: ['ignore', 2, 2],
      });
    } catch (cause) {
      throw new Failure(2, `cannot install solc ${SOLC_VERSION}: ${cause.message}`, 'npm and the npm registry are needed once');
    }
  }
  const digest = createHash('sha256').update(readFileSync(soljson)).digest('hex');
  if (digest !== SOLJSON_SHA256) {
    throw new Failure(2, `${soljson} has SHA-256 ${digest}, expected ${SOLJSON_SHA256}`, `remove ${prefix} and try again`);
  }
  return soljson;
}

function compile() {
  const soljson = createRequire(import.meta.url)(compilerPath());
  const version = soljson.cwrap('solidity_version', 'string', [])();
  if (version !== SOLC_LONG_VERSION) {
    throw new Failure(2, `the compiler calls itself ${version}, expected ${SOLC_LONG_VERSION}`);
  }
  const input = {
    language: 'Solidity',
    sources: { 'Bridge.sol': { content: readFileSync(join(here, 'Bridge.sol'), 'utf8') } },
    settings: SETTINGS,
  };
  const run = soljson.cwrap('solidity_compile', 'string', ['string', 'number', 'number']);
  const output = JSON.parse(run(JSON.stringify(input), 0, 0));
  const messages = output.errors ?? [];
  if (messages.length > 0) {
    // Warnings count as errors: what stands in genesis can never be corrected.
    throw new Failure(1, `Bridge.sol does not compile cleanly\n${messages.map((m) => m.formattedMessage).join('\n')}`);
  }
  const { abi, evm } = output.contracts['Bridge.sol'].Bridge;
  const bytecode = evm.deployedBytecode;
  if (Object.keys(bytecode.linkReferences).length > 0 || Object.keys(bytecode.immutableReferences ?? {}).length > 0) {
    throw new Failure(1, 'Bridge.sol needs linking or has immutables, which a genesis account cannot have');
  }
  return {
    'bridge.runtime.hex': `0x${bytecode.object}\n`,
    'bridge.abi.json': `${JSON.stringify(abi, null, 2)}\n`,
  };
}

function main(args) {
  const check = args.length === 1 && args[0] === '--check';
  if (args.length > 0 && !check) throw new Failure(2, `unknown arguments: ${args.join(' ')}`, 'usage: build.mjs [--check]');
  const differing = [];
  for (const [name, content] of Object.entries(compile())) {
    const path = join(here, name);
    if (check) {
      const committed = existsSync(path) ? readFileSync(path, 'utf8') : undefined;
      if (committed !== content) differing.push(name);
      else console.log(`${name}: same (${content.length} bytes)`);
    } else {
      writeFileSync(path, content);
      console.log(`${name}: written (${content.length} bytes)`);
    }
  }
  if (differing.length > 0) {
    throw new Failure(1, `differs from what Bridge.sol compiles to: ${differing.join(', ')}`, 'run build.mjs without --check');
  }
}

try {
  main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  console.error(`error: ${error.message}`);
  if (error.help) console.error(`help: ${error.help}`);
  process.exitCode = error.code;
}
