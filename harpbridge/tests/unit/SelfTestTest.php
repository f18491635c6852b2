<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Tests;

use OCA\HarpBridge\Config;
use OCA\HarpBridge\Daemon\Client;
use OCA\HarpBridge\Daemon\DaemonError;
use OCA\HarpBridge\Daemon\Datagram;
use OCA\HarpBridge\Journal\Journal;
use OCA\HarpBridge\SelfTest;
use OCP\IAppConfig;
use PHPUnit\Framework\TestCase;

/** What the administrator's page says of the daemon's folders. */
class SelfTestTest extends TestCase {
	/** @param array<string, mixed>|DaemonError $status */
	private function test(array|DaemonError $status): SelfTest {
		$daemon = $this->createStub(Client::class);
		$status instanceof DaemonError
			? $daemon->method('get')->willThrowException($status)
			: $daemon->method('get')->willReturn($status);
		return new SelfTest(
			$this->createStub(Config::class),
			$this->createStub(Journal::class),
			new Datagram(),
			$daemon,
			$this->createStub(IAppConfig::class),
		);
	}

	public function testFoldersWithNothingWrongAreCounted(): void {
		$check = $this->test(['folders' => [['name' => 'a', 'error' => ''], ['name' => 'b', 'error' => '']], 'problems' => []])->folders();
		$this->assertTrue($check->ok);
		$this->assertSame('nothing is wrong with any of the 2', $check->text);
	}

	public function testWhatIsWrongIsNamedAndMuchOfItCounted(): void {
		$folders = array_map(fn (int $number): array => ['name' => "f$number", 'error' => 'was revoked'], range(1, 9));
		$check = $this->test(['folders' => $folders, 'problems' => ['harpbridge is not heard']])->folders();
		$this->assertFalse($check->ok);
		$this->assertSame('harpbridge is not heard; f1: was revoked; f2: was revoked; f3: was revoked; f4: was revoked; and 5 more', $check->text);
		$this->assertStringContainsString('harp status', $check->remedy);
	}

	public function testAnAnswerOfAnotherFormIsNothingWrong(): void {
		$this->assertTrue($this->test(['folders' => 'x', 'problems' => [1, ['a']]])->folders()->ok);
	}

	public function testADaemonThatDoesNotAnswerIsSaidOnceAndNotHere(): void {
		$this->assertTrue($this->test(new DaemonError('gone'))->folders()->ok);
	}
}
