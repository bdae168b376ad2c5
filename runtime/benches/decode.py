"""GPT-2 of 345M random parameters in transformers on torch: the counterpart of decode.rs, to be run beside it.

    python3 decode.py MODEL_DIR        # `config.json` and `model.safetensors`, as decode.rs leaves them in a directory it is given

Prints the time to load, tokens per second of a prefill of 512 tokens and of a greedy decode of 64.
"""

import sys
import time

import torch
from transformers import GPT2LMHeadModel

PROMPT, TOKENS = 512, 64

torch.set_num_threads(2)
start = time.perf_counter()
model = GPT2LMHeadModel.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
# Mapped weights are read at first use; a load is done when they are.
with torch.inference_mode():
    total = sum(float(p.sum()) for p in model.parameters())
print(f"load {time.perf_counter() - start:.2f} s")
vocab = model.config.vocab_size
prompt = torch.tensor([[i * 97 % vocab for i in range(PROMPT)]])
with torch.inference_mode():
    for round in range(3):
        start = time.perf_counter()
        out = model(prompt, use_cache=True, logits_to_keep=1)
        prefill = time.perf_counter() - start
        past, ids = out.past_key_values, []
        start = time.perf_counter()
        for _ in range(TOKENS):
            token = out.logits[:, -1:].argmax(-1)
            ids.append(int(token))
            out = model(token, past_key_values=past, use_cache=True)
            past = out.past_key_values
        decode = TOKENS / (time.perf_counter() - start)
        print(f"round {round}: prefill {PROMPT / prefill:.1f} tokens/s, decode {decode:.2f} tokens/s")
print("tokens", *ids)
