<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Command;

use OCA\HarpBridge\SelfTest as Test;
use OCP\AppFramework\Utility\ITimeFactory;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\OutputInterface;

class SelfTest extends Base {
	public function __construct(
		private Test $test,
		private ITimeFactory $time,
	) {
		parent::__construct();
	}

	protected function configure(): void {
		parent::configure();
		$this->setName('harpbridge:self-test')
			->setDescription('Try each thing that Harp needs here, and say what to do where one fails');
	}

	protected function execute(InputInterface $input, OutputInterface $output): int {
		return $this->writeChecks($input, $output, $this->test->run($this->time->getTime()));
	}
}
