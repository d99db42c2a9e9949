// The texts of this page, and those that it shares with the page for people (examples/web).
import { en as sharedEn } from './texts/en.js';
import { zh as sharedZh } from './texts/zh.js';

const en = {
  ...sharedEn,
  skipToJobs: 'To the jobs',
  jobsTitle: 'Jobs',
  theme: 'Light or dark',
  token: 'Read token',
  look: 'Look',
  search: 'Search',
  projectId: 'Project',
  projects: 'Projects',
  jobsOf: (count) => `${count} ${count === 1 ? 'job' : 'jobs'}`,
  inTrouble: (count) => `${count} in trouble`,
  troubleOnly: 'Trouble only',
  moreJobs: 'More jobs',
  noJobs: 'No job is like this.',
  shown: (count) => `${count} shown`,
  live: 'live',
  away: 'The receiver does not answer; trying again.',
  ago: (time) => `${time} ago`,
  for: (time) => `for ${time}`,
  report: 'The report',
  units: ['s', 'min', 'h', 'd'],
};

const zh = {
  ...sharedZh,
  skipToJobs: '跳到作业',
  jobsTitle: '作业',
  theme: '浅色或深色',
  token: '只读令牌',
  look: '查看',
  search: '搜索',
  projectId: '项目',
  projects: '项目列表',
  jobsOf: (count) => `${count} 个作业`,
  inTrouble: (count) => `${count} 个异常`,
  troubleOnly: '仅看异常',
  moreJobs: '更多作业',
  noJobs: '没有符合条件的作业。',
  shown: (count) => `显示 ${count} 个`,
  live: '实时',
  away: '接收端没有响应，正在重试。',
  ago: (time) => `${time}前`,
  for: (time) => `已持续 ${time}`,
  report: '报告',
  units: ['秒', '分钟', '小时', '天'],
};

const LANGUAGES = { en, zh };
let texts = en;

/** The text of this name; with arguments where it has some. */
export function t(name, ...values) {
  const text = texts[name];
  return typeof text === 'function' ? text(...values) : text;
}

export const language = () => document.documentElement.lang.slice(0, 2);

/** Sets the language, and all texts that stand in the page as it is loaded. */
export function speak(lang) {
  texts = LANGUAGES[lang];
  document.documentElement.lang = texts.lang;
  document.title = `edge-report – ${texts.jobsTitle}`;
  for (const element of document.querySelectorAll('[data-text]')) element.textContent = t(element.dataset.text);
  for (const element of document.querySelectorAll('[data-label]')) element.setAttribute('aria-label', t(element.dataset.label));
}
