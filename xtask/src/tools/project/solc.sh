#!/bin/sh
# The compiler of npm is a JavaScript program; forge wants an executable that names its version as the native one does.
if [ "$1" = "--version" ]; then
    echo "solc, the solidity compiler commandline interface"
    echo "Version: $(node "$(dirname "$0")/node_modules/solc/solc.js" --version | head -1 | sed 's/Emscripten.clang/Linux.g++/')"
    exit 0
fi
exec node -e '
const solc = require(process.argv[1]);
let text = "";
process.stdin.on("data", (chunk) => (text += chunk)).on("end", () => process.stdout.write(solc.compile(text)));
' "$(cd "$(dirname "$0")" && pwd)/node_modules/solc"
