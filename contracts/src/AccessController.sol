// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Owned} from "./Owned.sol";

/// @notice Chainlink's AccessControllerInterface.
interface IAccessController {
    function hasAccess(address user, bytes calldata data) external view returns (bool);
}

/// @title  Who may read
/// @notice As Chainlink's SimpleReadAccessController: listed addresses, and every account that calls for itself, so that off-chain readers
///         are never locked out. All may while the check is off.
contract AccessController is IAccessController, Owned {
    /// @notice Whether the list is asked at all.
    bool public checkEnabled = true;
    mapping(address => bool) private s_access;

    event AddedAccess(address user);
    event RemovedAccess(address user);
    event CheckAccessEnabled();
    event CheckAccessDisabled();

    constructor(address owner_) Owned(owner_) {}

    /// @inheritdoc IAccessController
    function hasAccess(address user, bytes calldata) external view returns (bool) {
        return s_access[user] || !checkEnabled || user == tx.origin;
    }

    /// @notice Lets an address read.
    function addAccess(address user) external onlyOwner {
        s_access[user] = true;
        emit AddedAccess(user);
    }

    /// @notice Lets an address read no more.
    function removeAccess(address user) external onlyOwner {
        s_access[user] = false;
        emit RemovedAccess(user);
    }

    /// @notice Asks the list.
    function enableAccessCheck() external onlyOwner {
        checkEnabled = true;
        emit CheckAccessEnabled();
    }

    /// @notice Lets everyone read.
    function disableAccessCheck() external onlyOwner {
        checkEnabled = false;
        emit CheckAccessDisabled();
    }
}
