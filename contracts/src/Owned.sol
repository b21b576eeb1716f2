// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title  An owner, handed over in two steps
/// @notice Functions, events and reasons are those of Chainlink's ConfirmedOwner: who watches or calls one can watch and call this.
abstract contract Owned {
    address private s_owner;
    address private s_pendingOwner;

    /// @notice The owner offers its place.
    event OwnershipTransferRequested(address indexed from, address indexed to);
    /// @notice The new owner has accepted.
    event OwnershipTransferred(address indexed from, address indexed to);

    modifier onlyOwner() {
        require(msg.sender == s_owner, "Only callable by owner");
        _;
    }

    constructor(address owner_) {
        require(owner_ != address(0), "Cannot set owner to zero");
        s_owner = owner_;
    }

    /// @notice Who may change what can be changed here.
    function owner() public view virtual returns (address) {
        return s_owner;
    }

    /// @notice Offers ownership; takes effect when `to` accepts.
    function transferOwnership(address to) external onlyOwner {
        require(to != msg.sender, "Cannot transfer to self");
        s_pendingOwner = to;
        emit OwnershipTransferRequested(s_owner, to);
    }

    /// @notice Accepts ownership.
    function acceptOwnership() external {
        require(msg.sender == s_pendingOwner, "Must be proposed owner");
        address old = s_owner;
        (s_owner, s_pendingOwner) = (msg.sender, address(0));
        emit OwnershipTransferred(old, msg.sender);
    }
}
