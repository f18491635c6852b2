<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Command;

use OCA\HarpBridge\Metrics as Figures;
use OCP\AppFramework\Utility\ITimeFactory;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\OutputInterface;

class Metrics extends Base {
	public function __construct(
		private Figures $figures,
		private ITimeFactory $time,
	) {
		parent::__construct();
	}

	protected function configure(): void {
		parent::configure();
		$this->setName('harpbridge:metrics')
			->setDescription('Figures of the journal and the daemon, in Prometheus\' text form, without opening a port');
	}

	protected function execute(InputInterface $input, OutputInterface $output): int {
		$now = $this->time->getTime();
		if (self::isPlain($input)) {
			$output->write($this->figures->text($now), false, OutputInterface::OUTPUT_RAW);
		} else {
			$this->writeArrayInOutputFormat($input, $output, $this->figures->ours($now));
		}
		return self::SUCCESS;
	}
}
