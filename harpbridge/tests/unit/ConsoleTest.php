<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Tests;

use OCA\HarpBridge\Config;
use OCA\HarpBridge\Controller\ConsoleController;
use OCA\HarpBridge\Daemon\Client;
use OCA\HarpBridge\Daemon\DaemonError;
use OCA\HarpBridge\Navigation;
use OCA\HarpBridge\Sharing\Folders;
use OCA\HarpBridge\StandIns\Words;
use OCP\AppFramework\Http\RedirectResponse;
use OCP\AppFramework\Http\Response;
use OCP\AppFramework\Http\TemplateResponse;
use OCP\IAppConfig;
use OCP\IGroupManager;
use OCP\INavigationManager;
use OCP\IRequest;
use OCP\IURLGenerator;
use OCP\IUser;
use OCP\IUserSession;
use OCP\L10N\IFactory;
use PHPUnit\Framework\TestCase;

/** The way into the console: what the daemon is told of whom, and where it leads. */
class ConsoleTest extends TestCase {
	private const ENTRY = '/index.php/apps/harpbridge/console';

	/** @var list<array{string, string, array<string, mixed>}> */
	private array $told = [];
	private ?DaemonError $error = null;

	private function enter(?string $name, string $path = Config::CONSOLE_PATH, string $to = '/'): Response {
		$user = null;
		if ($name !== null) {
			$user = $this->createStub(IUser::class);
			$user->method('getUID')->willReturn($name);
		}
		$session = $this->createStub(IUserSession::class);
		$session->method('getUser')->willReturn($user);
		$groups = $this->createStub(IGroupManager::class);
		$groups->method('isAdmin')->willReturnCallback(static fn (string $id): bool => $id === 'admin');
		$daemon = $this->createStub(Client::class);
		$daemon->method('send')->willReturnCallback(function (string $method, string $path, array $fields): array {
			$this->told[] = [$method, $path, $fields];
			return $this->error === null ? ['until' => 600.0] : throw $this->error;
		});
		$folders = $this->createStub(Folders::class);
		$folders->method('ids')->willReturnCallback(static fn (IUser $user): array => $user->getUID() === 'carol' ? ['ab12', '34'] : []);
		$config = new Config(new IAppConfig(['console_path' => $path]), new Words());
		$request = $this->createStub(IRequest::class);
		return (new ConsoleController('harpbridge', $request, $daemon, $folders, $config, $session, $groups, $this->urls()))->enter($to);
	}

	private function urls(): IURLGenerator {
		$urls = $this->createStub(IURLGenerator::class);
		$urls->method('linkToRoute')->willReturnCallback(
			static fn (string $name): string => $name === 'harpbridge.console.enter' ? self::ENTRY : '/elsewhere',
		);
		$urls->method('imagePath')->willReturnCallback(static fn (string $app, string $file): string => "/apps/$app/img/$file");
		$urls->method('linkToDefaultPageUrl')->willReturn('/index.php/apps/files');
		return $urls;
	}

	private static function leads(Response $response, string $url): void {
		self::assertInstanceOf(RedirectResponse::class, $response);
		self::assertSame($url, $response->url);
	}

	public function testThePersonIsVouchedForWithTheirFoldersAndLedOn(): void {
		self::leads($this->enter('carol', to: '/folders/ab12?x=1'), '/exapps/harp/console/in?to=%2Ffolders%2Fab12%3Fx%3D1');
		$said = ['user' => 'carol', 'is_admin' => false, 'folders' => ['ab12', '34'], 'entry' => self::ENTRY];
		self::assertSame([['POST', '/v1/console/guests', $said]], $this->told);
	}

	public function testAnAdministratorIsVouchedForAsOne(): void {
		$this->enter('admin');
		self::assertTrue($this->told[0][2]['is_admin']);
	}

	public function testAWayOnThatIsNoPathStaysAPartOfOurOwnAddress(): void {
		self::leads($this->enter('carol', to: 'https://evil.example/'), '/exapps/harp/console/in?to=https%3A%2F%2Fevil.example%2F');
	}

	public function testWhereItIsNotSetUpNobodyIsVouchedFor(): void {
		self::leads($this->enter('carol', ''), '/index.php/apps/files');
		self::leads($this->enter(null), '/index.php/apps/files');
		self::assertSame([], $this->told);
	}

	public function testADaemonThatIsAwayIsExplainedToAdministratorsAlone(): void {
		$this->error = new DaemonError('there is no control socket at /srv/x', 'start the daemon');
		foreach (['admin' => 'there is no control socket at /srv/x', 'carol' => ''] as $name => $message) {
			$response = $this->enter($name);
			self::assertInstanceOf(TemplateResponse::class, $response);
			self::assertSame([503, 'console', $message], [$response->status, $response->template, $response->values['message']]);
		}
	}

	public function testTheMenuHasAnEntryThatIsMadeWhenItIsShown(): void {
		$languages = $this->createStub(IFactory::class);
		$languages->method('get')->willReturn(new Words());
		$menu = $this->createMock(INavigationManager::class);
		$menu->expects(self::once())->method('add')->willReturnCallback(static function (callable $entry): void {
			$made = $entry();
			self::assertSame(
				['harpbridge', 'link', self::ENTRY, '/apps/harpbridge/img/app.svg', 'Harp'],
				[$made['app'], $made['type'], $made['href'], $made['icon'], $made['name']],
			);
		});
		(new Navigation($menu, $this->urls(), $languages))->show();
	}

	/** @return list<array{string, bool}> */
	public static function paths(): array {
		return [
			['/exapps/harp/console/', true], ['/exapps/harp2/console/', true], ['', true], ['/exapps/harp/console', false],
			['//evil.example/console/', false], ['https://evil.example/exapps/harp/console/', false], ["/exapps/harp/console/\n", false],
		];
	}

	/** @dataProvider paths */
	public function testThePathOfTheConsoleIsThatOfAnExApp(string $path, bool $isFine): void {
		$config = new Config(new IAppConfig(), new Words());
		if (!$isFine) {
			$this->expectException(\InvalidArgumentException::class);
		}
		$config->setConsolePath($path);
		self::assertSame($path, $config->consolePath());
	}
}
