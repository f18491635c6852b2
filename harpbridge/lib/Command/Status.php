<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Command;

use OCA\HarpBridge\Config;
use OCA\HarpBridge\Daemon\Presence;
use OCA\HarpBridge\Journal\Journal;
use OCA\HarpBridge\Metrics;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\OutputInterface;

class Status extends Base {
	public function __construct(
		private Config $config,
		private Journal $journal,
		private Metrics $metrics,
		private Presence $presence,
	) {
		parent::__construct();
	}

	protected function configure(): void {
		parent::configure();
		$this->setName('harpbridge:status')
			->setDescription('Where the daemon is looked for, whether it answers, and what the journal holds');
	}

	protected function execute(InputInterface $input, OutputInterface $output): int {
		$extent = $this->journal->extent();
		$this->writeArrayInOutputFormat($input, $output, [
			'version' => $this->config->version(),
			'bridge_socket' => $this->config->bridgeSocket(),
			'control_socket' => $this->config->controlSocket(),
			'hub' => $this->config->hubAddress(),
			'daemon_up' => $this->metrics->isDaemonUp(),
			'journal' => $extent,
			'journal_read_seconds_ago' => $this->presence->secondsAgo(),
		]);
		return self::SUCCESS;
	}
}
