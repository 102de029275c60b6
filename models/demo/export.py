"""Writes the trained weights as a GGUF file in F16 (norms in F32) and its SHA-256 beside it.

Architecture "llama": its RoPE turns neighbouring pairs, the training turns halves, hence the reordering of the
rows of Q and K, as llama.cpp's own converter does.
"""

import argparse
import hashlib
import json
import os

import gguf
import numpy as np

import model

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def interleaved(weight, heads):
    """Rows of Q or K (output × input) from the halves layout to the pairs layout."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_sum(path):
    with open(path, "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    with open(path + ".sha256", "w") as f:
        f.write(f"{digest}  {os.path.basename(path)}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build", help="where train.py left its result")
    parser.add_argument("--out", default="wattlm-demo-f16.gguf")
    parser.add_argument("--sums", nargs="*", default=None, help="only write the .sha256 files of these files")
    options = parser.parse_args()
    if options.sums is not None:
        for path in options.sums:
            write_sum(path)
        return

    with open(os.path.join(options.build, "shape.json")) as f:
        shape = model.Shape(**json.load(f))
    with open(os.path.join(options.build, "tokenizer.json"), encoding="utf-8") as f:
        bpe = json.load(f)["model"]
    weights = np.load(os.path.join(options.build, "weights.npz"))

    w = gguf.GGUFWriter(options.out, "llama")
    w.add_type(gguf.GGUFType.MODEL)
    w.add_name("wattlm-demo")
    w.add_author("the wattlm authors")
    w.add_license("MIT OR Apache-2.0")
    w.add_description("Turns one English smart-home utterance into one JSON command.")
    w.add_size_label(f"{sum(weights[k].size for k in weights.files) / 1e6:.1f}M")
    w.add_languages(["en"])
    w.add_context_length(512)
    w.add_embedding_length(shape.width)
    w.add_block_count(shape.layers)
    w.add_feed_forward_length(shape.ff)
    w.add_head_count(shape.heads)
    w.add_head_count_kv(shape.kv_heads)
    w.add_key_length(shape.head)
    w.add_value_length(shape.head)
    w.add_rope_dimension_count(shape.head)
    w.add_rope_freq_base(shape.rope_base)
    w.add_layer_norm_rms_eps(shape.norm_eps)
    w.add_vocab_size(shape.vocab)
    w.add_file_type(gguf.LlamaFileType.MOSTLY_F16)

    tokens = [token for token, _ in sorted(bpe["vocab"].items(), key=lambda item: item[1])]
    kinds = [gguf.TokenType.NORMAL] * len(tokens)
    for token in ("<|endoftext|>", "<|im_start|>", "<|im_end|>"):
        kinds[tokens.index(token)] = gguf.TokenType.CONTROL
    while len(tokens) < shape.vocab:
        tokens.append(f"<|unused{len(tokens)}|>")
        kinds.append(gguf.TokenType.UNUSED)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(tokens)
    w.add_token_types(kinds)
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in bpe["merges"]])
    w.add_bos_token_id(tokens.index("<|endoftext|>"))
    w.add_eos_token_id(tokens.index("<|im_end|>"))
    w.add_eot_token_id(tokens.index("<|im_end|>"))
    w.add_pad_token_id(tokens.index("<|endoftext|>"))
    w.add_add_bos_token(False)
    w.add_chat_template(CHAT_TEMPLATE)

    half = np.float16
    w.add_tensor("token_embd.weight", weights["emb"].astype(half))
    w.add_tensor("output_norm.weight", weights["norm"])
    names = {
        "wq": "attn_q", "wk": "attn_k", "wv": "attn_v", "wo": "attn_output", "w_gate": "ffn_gate", "w_up": "ffn_up",
        "w_down": "ffn_down", "attn_norm": "attn_norm", "ffn_norm": "ffn_norm",
    }  # fmt: skip
    for i in range(shape.layers):
        for ours, theirs in names.items():
            value = weights[f"{i}.{ours}"]
            if value.ndim == 2:
                value = value.T
                if ours in ("wq", "wk"):
                    value = interleaved(value, shape.heads if ours == "wq" else shape.kv_heads)
                value = np.ascontiguousarray(value).astype(half)
            w.add_tensor(f"blk.{i}.{theirs}.weight", value)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    write_sum(options.out)


if __name__ == "__main__":
    main()
