// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Refusals, vm} from "./Base.sol";
import {Fixture} from "./Fixture.sol";
import {Price} from "../src/Price.sol";
import {PriceFeeds} from "../src/PriceFeeds.sol";
import {PriceViews} from "../src/consumer/PriceViews.sol";
import {SafeReader} from "../src/consumer/SafeReader.sol";
import {Lending} from "../src/examples/Lending.sol";
import {OptionsSettlement} from "../src/examples/OptionsSettlement.sol";
import {StablecoinBasket} from "../src/examples/StablecoinBasket.sol";
import {Api3Reader} from "../src/facades/Api3Reader.sol";
import {FtsoReader} from "../src/facades/FtsoReader.sol";
import {PythFacade, PythStructs} from "../src/facades/PythFacade.sol";
import {IAggregatorV3} from "../src/interfaces/IAggregatorV2V3.sol";
import {IPriceReader, PriceData} from "../src/interfaces/IPriceReader.sol";

/// @notice Libraries as a contract would call them.
contract Consumer {
    function twap(IPriceReader reader, bytes21 feed, uint256 from, uint256 to, uint256 gapMax) external view returns (uint256) {
        return PriceViews.twap(reader, feed, from, to, gapMax);
    }

    function volatilityAdjusted(IPriceReader reader, string memory pair, uint256 from, uint256 to)
        external
        view
        returns (uint128, uint128)
    {
        return PriceViews.volatilityAdjusted(reader, pair, from, to);
    }

    function read(IAggregatorV3 feed, uint256 ageMax, uint8 decimals) external view returns (uint256) {
        return SafeReader.read(feed, ageMax, decimals);
    }
}

/// @notice A Chainlink-shaped feed that says what it is told.
contract ScriptedFeed {
    uint8 public immutable decimals;
    uint80 private s_round;
    int256 private s_answer;
    uint256 private s_startedAt;
    uint256 private s_updatedAt;
    uint80 private s_answeredIn;

    constructor(uint8 decimals_) {
        decimals = decimals_;
    }

    function say(uint80 round, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredIn) external {
        (s_round, s_answer, s_startedAt, s_updatedAt, s_answeredIn) = (round, answer, startedAt, updatedAt, answeredIn);
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        return (s_round, s_answer, s_startedAt, s_updatedAt, s_answeredIn);
    }
}

/// @notice Readers, averages, examples and facades, over prices that were really pushed.
contract ConsumersTest is Fixture, Refusals {
    string private constant PAIR = "CA/USD";
    Consumer private consumer;
    bytes21 private feed;

    function setUp() public {
        uint32[] memory list = new uint32[](3);
        (list[0], list[1], list[2]) = (100, 100, 100);
        uint256[] memory three = new uint256[](1);
        three[0] = 3;
        deployWithRing(list, three, 32);
        consumer = new Consumer();
        feed = verifier.feedOf(PAIR);
        vm.assertEq(bytes32(feed), bytes32(feedOf(3, 0)), "the pair's feed");
    }

    // ------------------------------------------------------------------------------------------------------- history

    function test_get_prices_of_a_window() public {
        for (uint256 i = 1; i <= 5; ++i) {
            pushAt(NOW + 60 * i, 100 * i);
        }
        PriceData[] memory prices = verifier.getPrices(PAIR, NOW + 60, NOW + 240);
        vm.assertEq(prices.length, 3, "after from, up to to");
        for (uint256 i; i < 3; ++i) {
            vm.assertEq(prices[i].timestamp, NOW + 60 * (i + 2), "ascending");
            vm.assertEq(prices[i].price, 100 * (i + 2) * 1e10, "with 18 decimals");
            vm.assertEq(prices[i].confidence, 100, "all signed");
            vm.assertEq(prices[i].oracle, address(verifier), "who verified it");
        }
        vm.assertEq(verifier.getPrices("NO/SUCH", 0, NOW).length, 0, "nothing known");
        bytes memory call = abi.encodeCall(IPriceReader.getPrices, ("LONGER/THAN/A/FEED/IS", 0, 1));
        fails(address(this), address(verifier), call, abi.encodeWithSelector(IPriceReader.BadPair.selector, "LONGER/THAN/A/FEED/IS"));
    }

    // ---------------------------------------------------------------------------------------------------------- twap

    function test_twap_weighs_by_time() public {
        pushAt(NOW, 100);
        pushAt(NOW + 30, 200);
        pushAt(NOW + 60, 400);
        vm.warp(NOW + 100);
        vm.assertEq(consumer.twap(verifier, feed, NOW, NOW + 100, 60), (100 * 30 + 200 * 30 + 400 * 40) * 1e10 / 100, "whole");
        vm.assertEq(consumer.twap(verifier, feed, NOW + 10, NOW + 40, 60), uint256(4_000e10) / 30, "part");
        vm.assertEq(consumer.twap(verifier, feed, NOW + 61, NOW + 62, 60), 400e10, "within one");
        vm.assertEq(consumer.twap(verifier, feed, NOW + 30, NOW + 60, 60), 200e10, "exactly one");
    }

    /// @dev Inverse Finance: an average over less than the window was spot. This one covers it or fails.
    function test_twap_covers_the_window_or_fails() public {
        twapFails(NOW - 10, NOW, 60, abi.encodeWithSelector(PriceViews.WindowNotCovered.selector, NOW - 10, NOW));
        pushAt(NOW + 10, 100);
        twapFails(NOW, NOW + 10, 60, abi.encodeWithSelector(PriceViews.WindowNotCovered.selector, NOW, NOW + 10));
        pushAt(NOW + 20, 100);
        twapFails(NOW + 9, NOW + 20, 60, abi.encodeWithSelector(PriceViews.WindowNotCovered.selector, NOW + 9, NOW + 10));
        twapFails(NOW + 10, NOW + 21, 60, abi.encodeWithSelector(PriceViews.BadWindow.selector, NOW + 10, NOW + 21, NOW + 20));
        twapFails(NOW + 10, NOW + 10, 60, abi.encodeWithSelector(PriceViews.BadWindow.selector, NOW + 10, NOW + 10, NOW + 20));
        vm.warp(NOW + 81);
        twapFails(NOW + 10, NOW + 81, 60, abi.encodeWithSelector(PriceViews.Gap.selector, NOW + 20, NOW + 81, 60));
        vm.assertEq(consumer.twap(verifier, feed, NOW + 10, NOW + 80, 60), 100e10, "as long as allowed");
        for (uint256 i; i < 32; ++i) {
            pushAt(NOW + 82 + i, 100);
        }
        bytes memory refusal = abi.encodeWithSelector(PriceViews.WindowNotCovered.selector, NOW + 20, NOW + 82);
        twapFails(NOW + 20, NOW + 113, 62, refusal);
    }

    /// @dev A16: whoever moves the price by x for d of T seconds moves the average by x d / T at most.
    function testFuzz_a16_twap_moves_by_no_more_than_its_share(uint256 seed) public {
        uint256[6] memory lengths;
        uint256 window;
        for (uint256 i; i < 6; ++i) {
            lengths[i] = 1 + (seed >> (8 * i)) % 200;
            window += lengths[i];
        }
        uint256 moved = (seed >> 60) % 6;
        uint256 shift = 1 + (seed >> 64) % 1_000_000;
        uint256 snapshot = vm.snapshotState();
        uint256 honest = twapOf(lengths, window, seed, moved, 0);
        vm.revertToState(snapshot);
        uint256 attacked = twapOf(lengths, window, seed, moved, shift);
        uint256 bound = shift * 1e10 * lengths[moved] / window;
        vm.assertTrue(attacked >= honest && attacked - honest <= bound + 1, "the bound");
    }

    function twapOf(uint256[6] memory lengths, uint256 window, uint256 seed, uint256 moved, uint256 shift) private returns (uint256) {
        uint256 time = NOW;
        for (uint256 i; i < 6; ++i) {
            pushAt(time, 1_000_000 + (seed >> (100 + 16 * i)) % 1_000 + (i == moved ? shift : 0));
            time += lengths[i];
        }
        vm.warp(time);
        return consumer.twap(verifier, feed, NOW, NOW + window, 200);
    }

    function test_volatility_adjusted() public {
        for (uint256 i; i < 10; ++i) {
            pushAt(NOW + 60 * i, 1_000 + i % 3);
        }
        (uint128 price, uint128 confidence) = consumer.volatilityAdjusted(verifier, PAIR, NOW - 1, NOW + 600);
        vm.assertEq(price, 1_001e10, "calm: the median");
        vm.assertEq(confidence, 99, "and it is sure");
        pushAt(NOW + 600, 5_000);
        pushAt(NOW + 660, 5_000);
        (price, confidence) = consumer.volatilityAdjusted(verifier, PAIR, NOW - 1, NOW + 660);
        // Twelve, without the least (1,000) and the greatest (5,000).
        vm.assertEq(price, uint256(3 * 1_000 + 3 * 1_001 + 3 * 1_002 + 5_000) * 1e10 / 10, "wild: the trimmed mean");
        vm.assertEq(confidence, 50, "and it is not");
        bytes memory call = abi.encodeCall(Consumer.volatilityAdjusted, (verifier, PAIR, NOW + 480, NOW + 660));
        fails(address(this), address(consumer), call, abi.encodeWithSelector(PriceViews.TooFewPrices.selector, 3, 5));
    }

    // --------------------------------------------------------------------------------------------------------- reads

    /// @dev Consumers that ignore `updatedAt`: here they cannot.
    function test_safe_reads() public {
        ScriptedFeed scripted = new ScriptedFeed(8);
        scripted.say(3, 250e8, NOW - 100, NOW - 100, 3);
        vm.assertEq(consumer.read(asFeed(scripted), 100, 18), 250e18, "scaled up");
        vm.assertEq(consumer.read(asFeed(scripted), 100, 6), 250e6, "scaled down");
        readFails(scripted, 99, abi.encodeWithSelector(SafeReader.StaleAnswer.selector, NOW - 100, NOW - 99));
        scripted.say(3, 0, NOW, NOW, 3);
        readFails(scripted, 99, abi.encodeWithSelector(SafeReader.NoPositiveAnswer.selector, int256(0)));
        scripted.say(3, -1, NOW, NOW, 3);
        readFails(scripted, 99, abi.encodeWithSelector(SafeReader.NoPositiveAnswer.selector, int256(-1)));
        scripted.say(3, 1, NOW, NOW, 2);
        readFails(scripted, 99, abi.encodeWithSelector(SafeReader.IncompleteRound.selector, 3, 2));
        scripted.say(3, 1, NOW, 0, 3);
        readFails(scripted, 99, abi.encodeWithSelector(SafeReader.IncompleteRound.selector, 3, 3));
        scripted.say(3, 1, NOW, NOW + 1, 3);
        readFails(scripted, 99, abi.encodeWithSelector(SafeReader.AnswerFromTheFuture.selector, NOW + 1, NOW));
    }

    function test_lending() public {
        ScriptedFeed scripted = new ScriptedFeed(8);
        ScriptedFeed uptime = new ScriptedFeed(0);
        Lending lending = new Lending(asFeed(scripted), asFeed(uptime), 3_600);
        scripted.say(1, 2_000e8, NOW, NOW, 1);
        uptime.say(1, 0, NOW - 2 hours, NOW - 2 hours, 1);
        vm.assertEq(lending.getCollateralValue(3e18), 4_800e18, "80 percent of 6,000");
        vm.assertTrue(!lending.isLiquidatable(3e18, 4_800e18), "covered");
        vm.assertTrue(lending.isLiquidatable(3e18, 4_800e18 + 1), "no more");
        bytes memory call = abi.encodeCall(Lending.isLiquidatable, (3e18, 4_800e18));
        uptime.say(2, 1, NOW - 60, NOW - 60, 2);
        fails(address(this), address(lending), call, abi.encodeWithSelector(SafeReader.SequencerDown.selector, NOW - 60));
        uptime.say(3, 0, NOW - 60, NOW - 60, 3);
        bytes memory refusal = abi.encodeWithSelector(SafeReader.SequencerJustBack.selector, NOW - 60, NOW - 60 + 1 hours);
        fails(address(this), address(lending), call, refusal);
        uptime.say(3, 0, NOW - 1 hours, NOW - 60, 3);
        vm.warp(NOW + 3_601);
        fails(address(this), address(lending), call, abi.encodeWithSelector(SafeReader.StaleAnswer.selector, NOW, NOW + 1));
    }

    function test_options_settle_by_the_average_around_expiry() public {
        OptionsSettlement options = new OptionsSettlement(verifier);
        uint256 expiry = NOW + 1_800;
        for (uint256 i; i < 7; ++i) {
            pushAt(NOW + 600 * i, i < 3 ? 1_000 : 2_000);
        }
        // 1,000 for 1,800 s, then 2,000 for 1,800 s.
        vm.assertEq(options.getSettlementPrice(PAIR, expiry), 1_500e10, "the average");
        vm.assertEq(options.payout(PAIR, expiry, 1_200e10), 300e10, "in the money");
        vm.assertEq(options.payout(PAIR, expiry, 1_600e10), 0, "out of it");
        bytes memory call = abi.encodeCall(OptionsSettlement.getSettlementPrice, (PAIR, expiry + 1));
        bytes memory refusal = abi.encodeWithSelector(PriceViews.BadWindow.selector, NOW + 1, NOW + 3_601, NOW + 3_600);
        fails(address(this), address(options), call, refusal);
    }

    function test_a_basket_of_currencies() public {
        StablecoinBasket basket = new StablecoinBasket(verifier, "CA/USD", "CB/USD", "CC/USD");
        pushThree(NOW, [uint256(1e8), 1.1e8, 1.3e8]);
        vm.assertEq(basket.getMintPrice(), 1.06e18, "0.6 + 0.33 + 0.13");
        vm.warp(NOW + 601);
        bytes memory call = abi.encodeCall(StablecoinBasket.getMintPrice, ());
        fails(address(this), address(basket), call, abi.encodeWithSelector(SafeReader.StaleAnswer.selector, NOW, NOW + 1));
        pushThree(NOW + 601, [uint256(1e8), 1_100e8, 1.3e8]);
        bytes memory refusal = abi.encodeWithSelector(StablecoinBasket.LegOutOfRange.selector, feedOf(3, 1), 1_100e18);
        fails(address(this), address(basket), call, refusal);
    }

    // ------------------------------------------------------------------------------------------------------- facades

    function test_pyth_shape() public {
        PythFacade pyth = new PythFacade(verifier, 60);
        bytes32 id = bytes32(feed);
        bytes[] memory data = new bytes[](1);
        data[0] = encode(payload(NOW, [uint256(100_000), 7, 8]));
        bytes memory unsafe = abi.encodeCall(PythFacade.getPriceUnsafe, (id));
        fails(address(this), address(pyth), unsafe, abi.encodeWithSelector(PythFacade.PriceFeedNotFound.selector));
        vm.assertEq(pyth.getUpdateFee(data), 0, "free");
        vm.deal(address(this), 1);
        (bool ok, bytes memory result) = address(pyth).call{value: 1}(abi.encodeCall(PythFacade.updatePriceFeeds, (data)));
        vm.assertTrue(!ok, "and nothing is taken");
        vm.assertEq(result, abi.encodeWithSelector(PythFacade.FeeNotTaken.selector, 1), "its error");
        bytes32[] memory ids = new bytes32[](1);
        ids[0] = id;
        PythStructs.PriceFeed[] memory parsed = pyth.parsePriceFeedUpdates(data, ids, uint64(NOW), uint64(NOW));
        vm.assertEq(parsed[0].price.publishTime, NOW, "parsed");
        vm.assertTrue(!pyth.priceFeedExists(id), "and not stored");
        bytes memory narrow = abi.encodeCall(PythFacade.parsePriceFeedUpdates, (data, ids, uint64(NOW + 1), uint64(NOW + 2)));
        fails(address(this), address(pyth), narrow, abi.encodeWithSelector(PythFacade.PriceFeedNotFoundWithinRange.selector));
        pyth.updatePriceFeeds(data);
        PythStructs.Price memory price = pyth.getPriceNoOlderThan(id, 0);
        vm.assertTrue(price.price == 100_001, "price");
        vm.assertTrue(price.conf == 10, "a half-width of 10 hundred-thousandths");
        vm.assertTrue(price.expo == -8, "expo");
        vm.assertEq(price.publishTime, NOW, "time");
        vm.warp(NOW + 61);
        bytes memory get = abi.encodeCall(PythFacade.getPrice, (id));
        fails(address(this), address(pyth), get, abi.encodeWithSelector(PythFacade.StalePrice.selector));
        uint64[] memory times = new uint64[](1);
        times[0] = uint64(NOW);
        bytes memory update = abi.encodeCall(PythFacade.updatePriceFeedsIfNecessary, (data, ids, times));
        fails(address(this), address(pyth), update, abi.encodeWithSelector(PythFacade.NoFreshUpdate.selector));
        // What PriceFeeds refuses, the facade refuses with the same error.
        update = abi.encodeCall(PythFacade.updatePriceFeeds, (data));
        vm.warp(NOW + 10);
        bytes memory refusal = abi.encodeWithSelector(IPriceReader.TimeNotIncreasing.selector, feed, NOW, NOW);
        fails(address(this), address(pyth), update, refusal);
    }

    function test_ftso_and_api3_shapes() public {
        FtsoReader ftso = new FtsoReader(verifier);
        Api3Reader api3 = new Api3Reader(verifier, feed);
        bytes memory call = abi.encodeCall(FtsoReader.getFeedById, (feed));
        fails(address(this), address(ftso), call, abi.encodeWithSelector(FtsoReader.NoPrice.selector, feed));
        fails(address(this), address(api3), abi.encodeCall(Api3Reader.read, ()), abi.encodeWithSelector(Api3Reader.NoPrice.selector, feed));
        pushAt(NOW, 123);
        (uint256 value, int8 decimals, uint64 timestamp) = ftso.getFeedById(feed);
        vm.assertEq(value, 123, "value");
        vm.assertTrue(decimals == 8, "decimals");
        vm.assertEq(timestamp, NOW, "timestamp");
        (value, timestamp) = ftso.getFeedByIdInWei(feed);
        vm.assertEq(value, 123e10, "in wei");
        bytes21[] memory ids = new bytes21[](2);
        (ids[0], ids[1]) = (feed, feedOf(3, 2));
        (uint256[] memory values,,) = ftso.getFeedsById(ids);
        vm.assertEq(values[1], 123, "the second");
        (int224 answer, uint32 time) = api3.read();
        vm.assertTrue(answer == 123e10, "18 decimals");
        vm.assertEq(time, NOW, "time");
    }

    // -------------------------------------------------------------------------------------------------------- pushes

    /// @dev All three feeds at that price.
    function pushAt(uint256 time, uint256 price) private {
        vm.warp(time);
        Payload memory p = payload(time, [price, price, price]);
        for (uint256 i; i < 3; ++i) {
            bytes memory words = bytes.concat(word(price, 10, 7), word(price, 10, 7), word(price, 10, 7));
            p.entries[i].words = words;
            sign(p, i);
        }
        pushes(p);
    }

    function pushThree(uint256 time, uint256[3] memory prices) private {
        vm.warp(time);
        Payload memory p = payload(time, prices);
        for (uint256 i; i < 3; ++i) {
            p.entries[i].words = bytes.concat(word(prices[0], 10, 7), word(prices[1], 10, 7), word(prices[2], 10, 7));
            sign(p, i);
        }
        pushes(p);
    }

    /// @dev The three signers say price, price + 1, price + 2 of each feed.
    function payload(uint256 time, uint256[3] memory prices) private view returns (Payload memory p) {
        p = Payload(0, time, new uint256[](3), new Entry[](3));
        for (uint256 i; i < 3; ++i) {
            bytes memory words = bytes.concat(word(prices[0] + i, 10, 7), word(prices[1] + i, 10, 7), word(prices[2] + i, 10, 7));
            p.entries[i] = Entry(i, 0, words, "");
            sign(p, i);
        }
        nameMedians(p);
    }

    function twapFails(uint256 from, uint256 to, uint256 gapMax, bytes memory refusal) private {
        fails(address(this), address(consumer), abi.encodeCall(Consumer.twap, (verifier, feed, from, to, gapMax)), refusal);
    }

    function readFails(ScriptedFeed scripted, uint256 ageMax, bytes memory refusal) private {
        fails(address(this), address(consumer), abi.encodeCall(Consumer.read, (asFeed(scripted), ageMax, 8)), refusal);
    }

    function asFeed(ScriptedFeed scripted) private pure returns (IAggregatorV3) {
        return IAggregatorV3(address(scripted));
    }
}
