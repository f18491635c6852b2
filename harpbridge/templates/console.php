<?php
// SPDX-License-Identifier: AGPL-3.0-or-later
/** @var \OCP\IL10N $l */
/** @var array{message: string, hint: string} $_ */
?>
<section class="section harpbridge">
	<h2><?php p($l->t('Harp')); ?></h2>
	<p><?php p($l->t('Harp cannot be reached just now. Your files are safe; ask your administrator.')); ?></p>
	<?php if ($_['message'] !== ''): ?>
	<p><?php p($_['message']); ?><?php if ($_['hint'] !== ''): ?><br><em><?php p($_['hint']); ?></em><?php endif; ?></p>
	<?php endif; ?>
</section>
