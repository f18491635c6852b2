<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Command;

use OCA\HarpBridge\Daemon\DaemonError;
use OCA\HarpBridge\QrCode;
use OCA\HarpBridge\Sharing\Folders;
use OCP\IUserManager;
use Symfony\Component\Console\Input\InputArgument;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;

class Pair extends Base {
	private const MOST_MINUTES = 7 * 24 * 60;

	public function __construct(
		private Folders $folders,
		private IUserManager $users,
	) {
		parent::__construct();
	}

	protected function configure(): void {
		parent::configure();
		$this->setName('harpbridge:pair')
			->setDescription('Share a folder of a person, and make a ticket that lets one device in')
			->addArgument('user', InputArgument::REQUIRED, 'Whose folder')
			->addArgument('path', InputArgument::REQUIRED, 'Which, in their files, such as /Documents')
			->addOption('read-only', null, InputOption::VALUE_NONE, 'The device may not change anything')
			->addOption('minutes', null, InputOption::VALUE_REQUIRED, 'How long the ticket is good', '60');
	}

	protected function execute(InputInterface $input, OutputInterface $output): int {
		$user = $this->users->get((string)$input->getArgument('user'));
		if ($user === null) {
			return $this->fail($input, $output, 'there is no such user', 'occ user:list');
		}
		$minutes = (string)$input->getOption('minutes');
		if (!ctype_digit($minutes) || strlen($minutes) > 6 || (int)$minutes < 1 || (int)$minutes > self::MOST_MINUTES) {
			return $this->fail($input, $output, 'a ticket is good for 1 to ' . self::MOST_MINUTES . ' minutes');
		}
		try {
			$id = $this->folders->share($user, (string)$input->getArgument('path'));
			$made = $this->folders->invite($user, $id, (bool)$input->getOption('read-only'), 60 * (int)$minutes);
		} catch (DaemonError $e) {
			return $this->fail($input, $output, $e->getMessage(), $e->hint);
		}
		if (!self::isPlain($input)) {
			$this->writeArrayInOutputFormat($input, $output, $made + ['id' => $id]);
			return self::SUCCESS;
		}
		$output->writeln(self::shown($made['ticket']));
		$output->write(QrCode::blocks(QrCode::of($made['ticket'])), false, OutputInterface::OUTPUT_RAW);
		$output->writeln('good for one device, until ' . gmdate('Y-m-d H:i', $made['expires_at']) . ' UTC; whoever has it first is in');
		return self::SUCCESS;
	}
}
