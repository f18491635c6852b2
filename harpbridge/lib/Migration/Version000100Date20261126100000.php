<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Migration;

use Closure;
use OCA\HarpBridge\Journal\Journal;
use OCP\DB\ISchemaWrapper;
use OCP\DB\Types;
use OCP\Migration\IOutput;
use OCP\Migration\SimpleMigrationStep;

/**
 * The journal's table.
 *
 * It has no constraint that a row could violate, and no index but the key: a failed INSERT could spoil the transaction
 * of the person whose request it is, and each index costs every request.
 */
class Version000100Date20261126100000 extends SimpleMigrationStep {
	public function changeSchema(IOutput $output, Closure $schemaClosure, array $options): ?ISchemaWrapper {
		/** @var ISchemaWrapper $schema */
		$schema = $schemaClosure();
		if ($schema->hasTable(Journal::TABLE)) {
			return null;
		}
		$table = $schema->createTable(Journal::TABLE);
		$table->addColumn('id', Types::BIGINT, ['autoincrement' => true, 'notnull' => true, 'unsigned' => true]);
		$table->addColumn('at', Types::BIGINT, ['notnull' => false]);
		$table->addColumn('kind', Types::STRING, ['notnull' => false, 'length' => 16]);
		$table->addColumn('fileid', Types::BIGINT, ['notnull' => false]);
		$table->addColumn('storage', Types::BIGINT, ['notnull' => false]);
		$table->addColumn('path', Types::TEXT, ['notnull' => false]);
		$table->addColumn('from_storage', Types::BIGINT, ['notnull' => false]);
		$table->addColumn('from_path', Types::TEXT, ['notnull' => false]);
		$table->addColumn('etag', Types::STRING, ['notnull' => false, 'length' => 64]);
		$table->setPrimaryKey(['id']);
		return $schema;
	}
}
