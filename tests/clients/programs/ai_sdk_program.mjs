// Vercel's AI SDK, over the packages of both vendors and the one for compatible servers.
import { readFileSync } from "node:fs";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const { BASE_URL, CLIENT_KEY: apiKey, CHAT_MODEL, MESSAGES_MODEL, QUESTION, SYSTEM, RESULT, SAMPLES } = process.env;
const picture = readFileSync(`${SAMPLES}/picture.png`);
const page = readFileSync(`${SAMPLES}/page.pdf`);
const baseURL = (name) => `${BASE_URL.replace("{case}", name)}/v1`;

const models = {
  chat: (name) => createOpenAI({ baseURL: baseURL(name), apiKey }).chat(CHAT_MODEL),
  compatible: (name) =>
    createOpenAICompatible({ name: "gateway", baseURL: baseURL(name), apiKey, includeUsage: true })(CHAT_MODEL),
  messages: (name) => createAnthropic({ baseURL: baseURL(name), apiKey })(MESSAGES_MODEL),
};
const tools = {
  get_weather: tool({
    description: "Tells the weather.",
    inputSchema: z.object({ city: z.string().describe("The city.") }),
    execute: async () => RESULT,
  }),
};
const schema = z.object({ city: z.string(), celsius: z.number().int() });
const parts = (part) => [{ role: "user", content: [{ type: "text", text: QUESTION }, part] }];
const thinking = {
  openai: { reasoningEffort: "low" },
  gateway: { reasoningEffort: "low" },
  anthropic: { thinking: { type: "enabled", budgetTokens: 1024 } },
};
const cached = { anthropic: { cacheControl: { type: "ephemeral" } } };
const steps = { tools, stopWhen: stepCountIs(2), prompt: QUESTION };

const cases = {
  plain: (model) => generateText({ model, prompt: QUESTION }),
  stream: async (model) => ({ text: await streamText({ model, prompt: QUESTION }).text }),
  system: (model) => generateText({ model, instructions: SYSTEM, prompt: QUESTION }),
  temperature: (model) => generateText({ model, prompt: QUESTION, temperature: 0.3, topP: 0.9, seed: 7 }),
  tools: (model) => generateText({ model, ...steps }),
  "tools-stream": async (model) => ({ text: await streamText({ model, ...steps }).text }),
  picture: (model) => generateText({ model, messages: parts({ type: "image", image: picture }) }),
  document: (model) =>
    generateText({ model, messages: parts({ type: "file", data: page, mediaType: "application/pdf", filename: "page.pdf" }) }),
  structured: async (model) => ({ text: JSON.stringify((await generateObject({ model, schema, prompt: QUESTION })).object) }),
  thinking: (model) => generateText({ model, ...steps, maxOutputTokens: 2048, providerOptions: thinking }),
  caching: (model) =>
    generateText({ model, instructions: { role: "system", content: SYSTEM, providerOptions: cached }, prompt: QUESTION }),
};

const wanted = process.argv.slice(2);
for (const [kind, make] of Object.entries(models)) {
  for (const [name, ask] of Object.entries(cases)) {
    const full = `${kind}-${name}`;
    if (wanted.length && !wanted.includes(full)) continue;
    const started = Date.now();
    let said;
    try {
      said = (await ask(make(full))).text;
    } catch (error) {
      said = `FAILED ${error.name}: ${error.message} ${error.responseBody ?? ""}`;
    }
    console.log(`${full}: ${String(said).replace(/\s+/g, " ").slice(0, 300)} (${(Date.now() - started) / 1000} s)`);
  }
}
