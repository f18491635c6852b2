<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Tests;

use OCA\HarpBridge\Config;
use OCA\HarpBridge\Daemon\Datagram;
use OCA\HarpBridge\Daemon\Delivery;
use OCA\HarpBridge\StandIns\Words;
use OCP\IAppConfig;
use PHPUnit\Framework\TestCase;

/** The wake-up call, on real sockets. */
class DatagramTest extends TestCase {
	private string $socket;

	protected function setUp(): void {
		$this->socket = sys_get_temp_dir() . '/harpbridge-' . bin2hex(random_bytes(6)) . '.sock';
	}

	protected function tearDown(): void {
		if (file_exists($this->socket)) {
			unlink($this->socket);
		}
	}

	/** @return resource */
	private function listener() {
		$errno = 0;
		$error = '';
		$listener = stream_socket_server('udg://' . $this->socket, $errno, $error, STREAM_SERVER_BIND);
		self::assertIsResource($listener, $error);
		return $listener;
	}

	public function testADaemonHearsTheLastId(): void {
		$listener = $this->listener();
		self::assertSame(Delivery::Sent, (new Datagram())->send($this->socket, 42));
		self::assertSame("harpbridge 1 42\n", stream_socket_recvfrom($listener, 64));
	}

	public function testTheLargestIdFitsInSixtyFourBytes(): void {
		self::assertLessThanOrEqual(64, strlen(Datagram::text(PHP_INT_MAX)));
	}

	public function testADaemonThatHangsIsNotWaitedFor(): void {
		$listener = $this->listener();
		$datagram = new Datagram();
		$answers = [];
		// More than any queue that net.unix.max_dgram_qlen is set to.
		for ($i = 0; $i < 5000 && end($answers) !== Delivery::Full; $i++) {
			$answers[] = $datagram->send($this->socket, $i);
		}
		self::assertSame(Delivery::Full, end($answers));
		self::assertIsResource($listener);
	}

	public function testADaemonThatIsGoneIsNoError(): void {
		self::assertSame(Delivery::Missing, (new Datagram())->send($this->socket, 1));
		fclose($this->listener());
		self::assertSame(Delivery::Dead, (new Datagram())->send($this->socket, 1));
	}

	public function testNoWarningReachesNextcloudsHandler(): void {
		$heard = [];
		set_error_handler(static function (int $number, string $message) use (&$heard): bool {
			$heard[] = $message;
			return true;
		});
		(new Datagram())->send($this->socket, 1);
		restore_error_handler();
		self::assertSame([], $heard);
	}

	/** @return list<array{string}> */
	public static function badSockets(): array {
		return [['bridge.sock'], [''], ['/run/' . str_repeat('a', 200)], ["/run/a\nb"]];
	}

	/** @dataProvider badSockets */
	public function testASocketThatCannotBeIsRefusedWhenItIsSet(string $path): void {
		$this->expectException(\InvalidArgumentException::class);
		(new Config(new IAppConfig(), new Words()))->setBridgeSocket($path);
	}

	public function testAHubIsAnAddressOrAWebSocket(): void {
		$config = new Config(new IAppConfig(), new Words());
		foreach (['hub.example:8784', '[2001:db8::1]:8784', 'wss://cloud.example/exapps/harp/link'] as $address) {
			$config->setHubAddress($address);
			self::assertSame($address, $config->hubAddress());
		}
		$config->setHubAddress('');
		self::assertNull($config->hubAddress());
		$this->expectException(\InvalidArgumentException::class);
		$config->setHubAddress('https://cloud.example');
	}
}
