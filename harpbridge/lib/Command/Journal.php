<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Command;

use OCA\HarpBridge\Journal\Journal as Table;
use OCA\HarpBridge\Journal\Reader;
use OCP\IUserManager;
use Symfony\Component\Console\Input\InputArgument;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;

class Journal extends Base {
	public function __construct(
		private Table $journal,
		private Reader $reader,
		private IUserManager $users,
	) {
		parent::__construct();
	}

	protected function configure(): void {
		parent::configure();
		$this->setName('harpbridge:journal')
			->setDescription('What changed: the newest rows, or what one person\'s devices are told')
			->addArgument('user', InputArgument::OPTIONAL, 'As this person\'s devices read it')
			->addOption('since', null, InputOption::VALUE_REQUIRED, 'After this id; with a user only', '0')
			->addOption('limit', null, InputOption::VALUE_REQUIRED, 'At most so many rows', '20');
	}

	protected function execute(InputInterface $input, OutputInterface $output): int {
		$limit = (string)$input->getOption('limit');
		$since = (string)$input->getOption('since');
		if (!ctype_digit($limit) || !ctype_digit($since) || strlen($limit) > 5 || strlen($since) > 18) {
			return $this->fail($input, $output, '--limit is a number up to 99999, --since an id');
		}
		$name = $input->getArgument('user');
		if ($name === null) {
			return $this->write($input, $output, ['rows' => $this->journal->newest((int)$limit)]);
		}
		$user = $this->users->get((string)$name);
		if ($user === null) {
			return $this->fail($input, $output, 'there is no such user', 'occ user:list');
		}
		return $this->write($input, $output, $this->reader->read($user, (int)$since, max(1, (int)$limit)));
	}

	/** @param array{rows: list<array<string, mixed>>, cursor?: int} $read */
	private function write(InputInterface $input, OutputInterface $output, array $read): int {
		if (!self::isPlain($input)) {
			$this->writeArrayInOutputFormat($input, $output, $read);
			return self::SUCCESS;
		}
		foreach ($read['rows'] as $row) {
			$from = $row['from'] ?? $row['from_path'] ?? null;
			$output->writeln(self::shown(sprintf(
				'%d  %s  %-8s  %d  %s%s',
				$row['id'],
				gmdate('Y-m-d H:i:s', (int)$row['at']),
				$row['kind'],
				$row['fileid'],
				$from === null ? '' : "$from → ",
				$row['path'],
			)));
		}
		if (isset($read['cursor'])) {
			$output->writeln('cursor ' . $read['cursor']);
		}
		return self::SUCCESS;
	}
}
