<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Tests;

use OCA\HarpBridge\Check;
use OCA\HarpBridge\Config;
use OCA\HarpBridge\Daemon\Client;
use OCA\HarpBridge\Daemon\DaemonError;
use OCA\HarpBridge\Daemon\Datagram;
use OCA\HarpBridge\Daemon\Delivery;
use OCA\HarpBridge\Daemon\Presence;
use OCA\HarpBridge\Journal\Journal;
use OCA\HarpBridge\SelfTest;
use OCA\HarpBridge\StandIns\Database;
use OCA\HarpBridge\StandIns\Words;
use OCP\IAppConfig;
use PHPUnit\Framework\TestCase;

/** What the administrator's page says, and in which language. */
class SelfTestTest extends TestCase {
	/** @param array<string, mixed>|DaemonError $status */
	private function test(array|DaemonError $status, ?int $readAgo = null): SelfTest {
		$presence = $this->createStub(Presence::class);
		$presence->method('secondsAgo')->willReturn($readAgo);
		$config = $this->createStub(Config::class);
		$config->method('bridgeSocket')->willReturn('/nowhere/bridge.sock');
		$config->method('controlSocket')->willReturn('/nowhere/harp.sock');
		$daemon = $this->createStub(Client::class);
		$status instanceof DaemonError
			? $daemon->method('get')->willThrowException($status)
			: $daemon->method('get')->willReturn($status);
		return new SelfTest(
			$config,
			$this->createStub(Journal::class),
			new Datagram(),
			$daemon,
			$presence,
			$this->createStub(IAppConfig::class),
			new Words(),
		);
	}

	/**
	 * A whole run.
	 *
	 * @param array<string, mixed> $settings
	 * @return array<string, Check> by name
	 */
	private function whole(string $language, array $settings, Database $database): array {
		$words = new Words($language);
		$config = new Config(new IAppConfig($settings), $words);
		$values = new IAppConfig($settings);
		$presence = $this->createStub(Presence::class);
		$test = new SelfTest(
			$config, new Journal($database), new Datagram(), new Client($config, $words), $presence, $values, $words,
		);
		return array_column($test->run(1_000_000), null, 'name');
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

	public function testAWebNodeWithoutADaemonIsFineWhileThatOfAnotherReadsTheJournal(): void {
		$test = $this->test(new DaemonError('there is no control socket'), 17);
		$this->assertTrue($test->bridgeSocket()->ok);
		$this->assertStringContainsString('the daemon is on another one, and read the journal 17 s ago', $test->bridgeSocket()->text);
		$this->assertTrue($test->daemon()->ok);
		$this->assertStringContainsString('requests with harpbridge in their path', $test->daemon()->text);
	}

	public function testWhereNobodyReadsTheJournalAMissingSocketIsWrong(): void {
		$test = $this->test(new DaemonError('there is no control socket'));
		$this->assertFalse($test->bridgeSocket()->ok);
		$this->assertStringContainsString('journal_poll_s', $test->bridgeSocket()->remedy);
		$this->assertFalse($test->daemon()->ok);
	}

	public function testADaemonThatDoesNotAnswerIsSaidOnceAndNotHere(): void {
		$this->assertTrue($this->test(new DaemonError('gone'))->folders()->ok);
	}

	public function testAnAdministratorReadsInGermanWhatFails(): void {
		$nowhere = ['bridge_socket' => '/nowhere/b.sock', 'control_socket' => '/nowhere/c.sock', 'lastcron' => 1_000_000 - 7200];
		$checks = $this->whole('de', $nowhere, new Database());
		$this->assertSame(
			['Journal', 'Brücken-Socket', 'Dienst', 'Ordner', 'Hub', 'Hintergrundaufgaben'],
			array_column($checks, 'title'),
		);
		$this->assertSame('seine Tabelle ist nicht lesbar', $checks['journal']->text);
		$this->assertSame('unter /nowhere/b.sock liegt keiner', $checks['bridge socket']->text);
		$this->assertSame(
			'starte den Dienst, oder sage, wo sein Socket ist: occ harpbridge:setup --bridge-socket PFAD; '
			. 'wo er auf einem anderen Webserver läuft: harp config set journal_poll_s 2, dort',
			$checks['bridge socket']->remedy,
		);
		$this->assertSame('unter /nowhere/c.sock liegt kein Steuer-Socket', $checks['daemon']->text);
		$this->assertSame('sind seit 120 Minuten nicht gelaufen', $checks['background jobs']->text);
		$formal = $this->whole('de_DE', $nowhere, new Database());
		$this->assertStringStartsWith('starten Sie den Dienst', $formal['bridge socket']->remedy);
	}

	public function testAnAdministratorReadsInGermanThatAllIsWell(): void {
		$socket = sys_get_temp_dir() . '/harpbridge-' . getmypid() . '.sock';
		$listener = stream_socket_server('udg://' . $socket, $errno, $error, STREAM_SERVER_BIND);
		try {
			$well = ['bridge_socket' => $socket, 'hub_address' => 'hub.example:8784', 'lastcron' => 1_000_000];
			$checks = $this->whole('de', $well, (new Database())->makeJournal());
		} finally {
			fclose($listener);
			unlink($socket);
		}
		$this->assertSame('0 Zeilen, die letzte ID ist 0', $checks['journal']->text);
		$this->assertSame("$socket nimmt Datagramme an", $checks['bridge socket']->text);
		$this->assertSame('Geräte wählen hub.example:8784 an', $checks['hub']->text);
		$this->assertSame('laufen', $checks['background jobs']->text);
	}

	public function testEachFateOfADatagramIsSaidInGermanWithARemedyButForTheOneThatArrived(): void {
		$german = new Words('de');
		foreach (Delivery::cases() as $became) {
			$this->assertStringContainsString('/', $became->text($german, '/run/harp'));
			$this->assertSame($became === Delivery::Sent, $became->remedy($german, '/run/harp') === '');
		}
		$this->assertStringContainsString('ist kein Socket und gehört', Delivery::Forbidden->remedy($german, __DIR__));
	}
}
