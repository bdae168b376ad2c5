"""GPT-2 of 345M random parameters in llama.cpp, f32: the counterpart of decode.rs, to be run beside it.

    pip install gguf safetensors llama-cpp-python
    python3 decode_llama.py MODEL_DIR    # `config.json` and `model.safetensors`, as decode.rs leaves them in a directory it is given

Prints the time to load, tokens per second of a prefill of 512 tokens and of a greedy decode of 64. Its cache of keys and
values is in f16, as llama.cpp has it unless asked otherwise.
"""

import json
import os
import sys
import tempfile
import time

import gguf
import llama_cpp
import numpy as np
from safetensors.numpy import load_file

PROMPT, TOKENS = 512, 64
MODULES = {
    "ln_1": "attn_norm",
    "ln_2": "ffn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
OTHERS = {
    "wte.weight": "token_embd.weight",
    "wpe.weight": "position_embd.weight",
    "ln_f.weight": "output_norm.weight",
    "ln_f.bias": "output_norm.bias",
}


def name_in_gguf(name):
    name = name.removeprefix("transformer.")
    if name in OTHERS:
        return OTHERS[name]
    _, layer, rest = name.split(".", 2)
    module, parameter = rest.rsplit(".", 1)
    return f"blk.{layer}.{MODULES[module]}.{parameter}"


def write_gguf(directory, path):
    config = json.load(open(os.path.join(directory, "config.json")))
    vocab = config["vocab_size"]
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_block_count(config["n_layer"])
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_feed_forward_length(4 * config["n_embd"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(1e-5)
    writer.add_file_type(0)
    # llama.cpp loads no model without a tokenizer; nothing is tokenized.
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"t{token}" for token in range(vocab)])
    writer.add_token_types([1] * vocab)
    writer.add_token_merges(["t 0"])
    for name, tensor in load_file(os.path.join(directory, "model.safetensors")).items():
        is_conv1d = tensor.ndim == 2 and ".h." in name
        writer.add_tensor(name_in_gguf(name), np.ascontiguousarray(tensor.T if is_conv1d else tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return vocab


with tempfile.TemporaryDirectory() as scratch:
    path = os.path.join(scratch, "model.gguf")
    vocab = write_gguf(sys.argv[1], path)
    start = time.perf_counter()
    model = llama_cpp.Llama(
        path, n_ctx=1024, n_batch=PROMPT, n_ubatch=PROMPT, n_threads=2, n_threads_batch=2, verbose=False
    )
    print(f"load {time.perf_counter() - start:.2f} s")
    prompt = [i * 97 % vocab for i in range(PROMPT)]
    for round in range(3):
        model.reset()
        start = time.perf_counter()
        model.eval(prompt)
        prefill = time.perf_counter() - start
        ids = []
        start = time.perf_counter()
        for _ in range(TOKENS):
            logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(model.ctx, -1), (vocab,))
            ids.append(int(logits.argmax()))
            model.eval([ids[-1]])
        decode = TOKENS / (time.perf_counter() - start)
        print(f"round {round}: prefill {PROMPT / prefill:.1f} tokens/s, decode {decode:.2f} tokens/s")
    print("tokens", *ids)
