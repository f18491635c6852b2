<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Tests;

use OCA\HarpBridge\Daemon\Presence;
use OCA\HarpBridge\Sharing\AppPasswords;
use OCP\AppFramework\Utility\ITimeFactory;
use OCP\Config\IUserConfig;
use OCP\IAppConfig;
use OCP\IUser;
use PHPUnit\Framework\TestCase;

/** Who counts as the daemon that reads the journal, and for how long. */
class PresenceTest extends TestCase {
	private const OURS = 7;

	private int $now = 1_800_000_000;
	private IAppConfig $values;

	protected function setUp(): void {
		$this->values = new IAppConfig();
	}

	/** `$used` is the id of the app password of the request, `$given` that which the daemon was given for this person. */
	private function presence(int $used = self::OURS, int $given = self::OURS): Presence {
		$people = $this->createStub(IUserConfig::class);
		$people->method('getValueInt')->willReturn($given);
		$passwords = $this->createStub(AppPasswords::class);
		$passwords->method('isInUse')->willReturnCallback(static fn (int $id): bool => $id === $used);
		$time = $this->createStub(ITimeFactory::class);
		$time->method('getTime')->willReturnCallback(fn (): int => $this->now);
		return new Presence($this->values, $people, $passwords, $time);
	}

	private function reads(Presence $presence): void {
		$presence->note($this->createStub(IUser::class));
	}

	public function testADaemonThatReadsIsThereForAFewMinutes(): void {
		$presence = $this->presence();
		self::assertNull($presence->secondsAgo());
		$this->reads($presence);
		self::assertSame(0, $presence->secondsAgo());
		$this->now += 299;
		self::assertSame(299, $presence->secondsAgo());
		$this->now += 1;
		self::assertNull($presence->secondsAgo());
	}

	public function testOneThatReadsEverySecondIsNotedOnceAMinute(): void {
		$presence = $this->presence();
		$noted = [];
		for ($second = 0; $second < 150; $second++, $this->now++) {
			$this->reads($presence);
			$noted[$this->values->values['read_at']] = true;
		}
		self::assertCount(3, $noted);
	}

	public function testWhoeverReadsWithAnotherPasswordIsNoDaemon(): void {
		foreach ([$this->presence(used: 8), $this->presence(used: 0, given: 0)] as $presence) {
			$this->reads($presence);
			self::assertNull($presence->secondsAgo());
		}
	}
}
