// SPDX-License-Identifier: AGPL-3.0-or-later
/** The administrator's page: save the settings, then show what the self-test says of them. */

import { element, Server } from './asking.mjs'

const section = document.getElementById('harpbridge-admin')
const server = new Server(section)
const said = section.querySelector('.harpbridge-said')

function line(check) {
	const shown = element('li', { class: check.ok ? 'harpbridge-good' : 'harpbridge-bad' }, element('strong', {}, check.title), ': ', check.text)
	if (check.remedy) {
		shown.append(element('br'), element('em', {}, check.remedy))
	}
	return shown
}

section.querySelector('form').addEventListener('submit', async (event) => {
	event.preventDefault()
	said.textContent = ''
	try {
		const fields = Object.fromEntries(new FormData(event.target))
		const { checks } = await server.send('PUT', '', fields)
		section.querySelector('.harpbridge-checks').replaceChildren(...checks.map(line))
		said.textContent = server.words.saved
	} catch (error) {
		said.textContent = error.message
	}
})
