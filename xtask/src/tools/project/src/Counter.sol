// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

contract Counter {
    event Bumped(address indexed who, uint256 value);

    uint256 public value;

    constructor(uint256 start) {
        value = start;
    }

    function bump() external payable {
        value += 1;
        emit Bumped(msg.sender, value);
    }

    function fail() external pure {
        require(false, "never");
    }
}
