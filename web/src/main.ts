import { mount } from 'svelte';
import App from './App.svelte';
import './app.css';
import { showLanguage } from './lib/i18n/language.svelte';
import { showTheme } from './lib/theme.svelte';

showTheme();
void showLanguage().then(() => mount(App, { target: document.getElementById('app')! }));
