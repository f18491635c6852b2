<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Command;

use OCA\HarpBridge\Config;
use OCA\HarpBridge\SelfTest;
use OCP\AppFramework\Utility\ITimeFactory;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;

class Setup extends Base {
	/** AppAPI's levels of access. */
	private const PUBLIC = 0;
	private const USER = 1;

	public function __construct(
		private Config $config,
		private SelfTest $test,
		private ITimeFactory $time,
	) {
		parent::__construct();
	}

	protected function configure(): void {
		parent::configure();
		$this->setName('harpbridge:setup')
			->setDescription('Say where the Harp daemon is, then try it; what is not named stays as it is')
			->addOption('bridge-socket', null, InputOption::VALUE_REQUIRED, 'Where the daemon waits for datagrams (' . Config::BRIDGE_SOCKET . ')')
			->addOption('control-socket', null, InputOption::VALUE_REQUIRED, 'Where the daemon answers (' . Config::CONTROL_SOCKET . ')')
			->addOption('hub', null, InputOption::VALUE_REQUIRED, 'What devices dial: HOST:PORT or wss://HOST/PATH; empty for none')
			->addOption('nextcloud-url', null, InputOption::VALUE_REQUIRED, 'How the daemon reaches this Nextcloud; empty for its public address')
			->addOption('keep-days', null, InputOption::VALUE_REQUIRED, 'How long rows of the journal are kept (' . Config::KEEP_DAYS . ')')
			->addOption('exapp-daemon', null, InputOption::VALUE_REQUIRED, 'Also register the hub as the ExApp "harp" with this deploy daemon of AppAPI')
			->addOption('console', null, InputOption::VALUE_REQUIRED, 'Show the console in the menu: ' . Config::CONSOLE_PATH . '; empty for not (--exapp-daemon shows it)')
			->addOption('exapp-port', null, InputOption::VALUE_REQUIRED, 'The hub\'s port behind the proxy, for --exapp-daemon', '8786');
	}

	protected function execute(InputInterface $input, OutputInterface $output): int {
		try {
			$this->save($input);
		} catch (\InvalidArgumentException $e) {
			return $this->fail($input, $output, $e->getMessage());
		}
		$deployDaemon = $input->getOption('exapp-daemon');
		if (is_string($deployDaemon) && $deployDaemon !== '') {
			$failed = $this->registerExApp($input, $output, $deployDaemon);
			if ($failed !== self::SUCCESS) {
				return $failed;
			}
			if (!is_string($input->getOption('console'))) {
				$this->config->setConsolePath(Config::CONSOLE_PATH);
			}
		}
		return $this->writeChecks($input, $output, $this->test->run($this->time->getTime()));
	}

	/** @throws \InvalidArgumentException one line for a person */
	private function save(InputInterface $input): void {
		$setters = [
			'bridge-socket' => $this->config->setBridgeSocket(...),
			'control-socket' => $this->config->setControlSocket(...),
			'hub' => $this->config->setHubAddress(...),
			'nextcloud-url' => $this->config->setNextcloudUrl(...),
			'console' => $this->config->setConsolePath(...),
			'keep-days' => fn (string $days) => $this->config->setKeepDays(ctype_digit($days) && strlen($days) < 6 ? (int)$days : 0),
		];
		foreach ($setters as $option => $set) {
			$value = $input->getOption($option);
			if (is_string($value)) {
				$set($value);
			}
		}
	}

	/**
	 * AppAPI 32 wants the list of statuses as text: it reads its own copy of it as JSON where the app needs no time to start.
	 *
	 * @return array<string, mixed>
	 */
	private static function route(string $url, string $verbs, int $level): array {
		return ['url' => $url, 'verb' => $verbs, 'access_level' => $level, 'headers_to_exclude' => [], 'bruteforce_protection' => '[]'];
	}

	/** In the daemon's home, where its control socket is: docs/reference/files.md. */
	private function secretFile(): string {
		return dirname($this->config->controlSocket()) . '/exapp-secret';
	}

	/** By which hub and Nextcloud know each other; empty where there is none that this user can read. */
	private function secret(): string {
		$file = $this->secretFile();
		return is_readable($file) ? trim((string)file_get_contents($file, false, null, 0, 4096)) : '';
	}

	/** AppAPI has the command; the secret goes to it, and nowhere else. */
	private function registerExApp(InputInterface $input, OutputInterface $output, string $deployDaemon): int {
		$port = (string)$input->getOption('exapp-port');
		if (!ctype_digit($port) || (int)$port < 1 || (int)$port > 65535) {
			return $this->fail($input, $output, 'a port is a number from 1 to 65535');
		}
		$secret = $this->secret();
		if ($secret === '') {
			$file = $this->secretFile();
			return $this->fail($input, $output, "the hub has no secret in $file yet", "(umask 077; openssl rand -hex 32 > $file), as the daemon's user, then start the daemon anew");
		}
		$application = $this->getApplication();
		if ($application === null || !$application->has('app_api:app:register')) {
			return $this->fail($input, $output, 'AppAPI is not enabled', 'occ app:enable app_api');
		}
		$info = [
			'id' => 'harp',
			'name' => 'Harp',
			'version' => $this->config->version(),
			'port' => (int)$port,
			'secret' => $secret,
			'routes' => [
				// Devices are no people of this Nextcloud: the hub knows them by their keys.
				self::route('^/?link$', 'GET', self::PUBLIC),
				self::route('^/?console(?:/.*)?$', 'GET, POST', self::USER),
			],
		];
		$said = new \Symfony\Component\Console\Output\BufferedOutput();
		$code = $application->find('app_api:app:register')->run(new \Symfony\Component\Console\Input\ArrayInput([
			'appid' => 'harp',
			'daemon-config-name' => $deployDaemon,
			'--json-info' => json_encode($info, JSON_THROW_ON_ERROR),
		]), $said);
		return $code === self::SUCCESS
			? self::SUCCESS
			: $this->fail($input, $output, 'AppAPI did not register the hub: ' . trim($said->fetch()), 'occ app_api:daemon:list');
	}
}
