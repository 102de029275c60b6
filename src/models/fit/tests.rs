//! Tests of the memory prediction against values computed by hand, and of its ways out.

use super::*;

const MIB: u64 = 1 << 20;

/// qwen2-0.5b at Q4_K_M: what `synth` writes.
fn qwen() -> Shape {
    Shape {
        layers: 24,
        embd: 896,
        ff: 4864,
        heads: 14,
        k_elements: 24 * 2 * 64,
        v_elements: 24 * 2 * 64,
        kv_row_multiple: 64,
        head_width: 64,
        vocab: 151_936,
        merges: 151_674,
        context_train: 32_768,
        weight_bytes: 391_000_000,
        matrices: vec![(GgmlType::Q4_K, 29_000_000), (GgmlType::Q5_0, 170_000_000), (GgmlType::Q6_K, 43_000_000)],
        embedding: (GgmlType::Q8_0, 144_643_072),
        tied: true,
        recurrent_bytes: 0,
        experts: 0,
        sliding: false,
    }
}

fn gemma() -> Shape {
    Shape {
        layers: 26,
        embd: 2304,
        ff: 9216,
        heads: 8,
        k_elements: 26 * 4 * 256,
        v_elements: 26 * 4 * 256,
        kv_row_multiple: 256,
        head_width: 256,
        vocab: 256_000,
        sliding: true,
        ..qwen()
    }
}

fn llama3b() -> Shape {
    Shape { embd: 3072, ff: 8192, heads: 24, head_width: 128, vocab: 128_256, ..qwen() }
}

fn tinyllama() -> Shape {
    Shape { embd: 2048, ff: 5632, heads: 32, head_width: 64, vocab: 32_000, ..qwen() }
}

fn wanted() -> Wanted {
    Wanted { n_ctx: 4096, slots: 4, chunk: 256, outputs: 4, kv_type: KvType::F16, flash_attention: true }
}

#[test]
fn the_cache_is_exact() {
    // llama.cpp prints 48.00 MiB for this one, 25.50 MiB with q8_0, and 416 MiB for gemma's two halves.
    assert_eq!(predict(&qwen(), &wanted(), CpuKind::Plain).kv, 48 * MIB);
    let q8 = Wanted { kv_type: KvType::Q8_0, ..wanted() };
    assert_eq!(predict(&qwen(), &q8, CpuKind::Plain).kv, 25 * MIB + MIB / 2);
    assert_eq!(predict(&gemma(), &wanted(), CpuKind::Plain).kv, 416 * MIB);
    // 4000 is padded to 4096.
    assert_eq!(predict(&qwen(), &Wanted { n_ctx: 4000, ..wanted() }, CpuKind::Plain).kv, 48 * MIB);
    let state = Shape { recurrent_bytes: MIB, k_elements: 0, v_elements: 0, ..qwen() };
    assert_eq!(predict(&state, &wanted(), CpuKind::Plain).kv, 4 * MIB);
}

#[test]
fn compute_covers_what_llama_cpp_allocates() {
    // Chunk, context, outputs, fused attention, and the buffer in MiB that llama.cpp reported.
    for (shape, chunk, n_ctx, outputs, flash_attention, reported) in [
        (qwen(), 256, 512, 4, true, 18.88),
        (qwen(), 256, 4096, 4, true, 20.63),
        (qwen(), 256, 8192, 4, true, 22.63),
        (qwen(), 32, 8192, 4, true, 3.37),
        (qwen(), 512, 512, 512, true, 306.02),
        (qwen(), 256, 4096, 256, true, 154.76),
        (qwen(), 256, 8192, 4, false, 125.51),
        (qwen(), 64, 8192, 64, false, 40.47),
        (gemma(), 256, 4096, 4, true, 42.26),
        (llama3b(), 1024, 8192, 1, true, 172.04),
        (tinyllama(), 256, 4096, 256, true, 45.26),
    ] {
        let w = Wanted { n_ctx, chunk, outputs, flash_attention, ..wanted() };
        let ratio = compute(&shape, &w) as f64 / (reported * MIB as f64);
        assert!((1.0..=1.25).contains(&ratio), "chunk {chunk}, context {n_ctx}, outputs {outputs}: {ratio:.3}");
    }
}

#[test]
fn weights_count_once_wherever_they_lie() {
    let q = qwen();
    let on = |cpu| predict(&q, &wanted(), cpu);
    assert_eq!((on(CpuKind::Plain).mapped, on(CpuKind::Plain).repacked), (391_000_000, 0));
    assert_eq!((on(CpuKind::Avx2).mapped, on(CpuKind::Avx2).repacked), (362_000_000, 29_000_000));
    // ARM repacks Q6_K and Q8_0 too: the tied embedding is needed in both forms.
    let arm = on(CpuKind::ArmDotprod);
    assert_eq!((arm.mapped, arm.repacked), (391_000_000 - 72_000_000, 72_000_000 + 144_643_072));
    let untied = Shape { tied: false, ..qwen() };
    assert_eq!(predict(&untied, &wanted(), CpuKind::ArmDotprod).repacked, 72_000_000);
    assert_eq!(on(CpuKind::Avx2).output, 4 * 151_936 * 4);
    assert_eq!(on(CpuKind::Avx2).vocab, 151_936 * 200 + 151_674 * 170);
}

#[test]
fn absurd_numbers_saturate() {
    let s = Shape {
        embd: u32::MAX,
        ff: u32::MAX,
        heads: u32::MAX,
        head_width: u32::MAX,
        k_elements: u64::MAX,
        vocab: u32::MAX,
        merges: u64::MAX,
        recurrent_bytes: u64::MAX,
        experts: u32::MAX,
        ..qwen()
    };
    let w = Wanted { n_ctx: u32::MAX, slots: u32::MAX, chunk: u32::MAX, outputs: u32::MAX, ..wanted() };
    assert_eq!(predict(&s, &w, CpuKind::Avx512).total(), u64::MAX);
    assert_eq!(longest_context(&s, &w, CpuKind::Plain, u64::MAX - 1), None);
    let none = Wanted { n_ctx: 0, slots: 0, chunk: 0, outputs: 0, ..wanted() };
    assert!(predict(&qwen(), &none, CpuKind::Plain).total() > 391_000_000);
}

fn room(bytes: u64) -> Available {
    Available { bytes, source: "the system's available memory".into() }
}

#[test]
fn what_fits_passes_with_its_figures() {
    let need = predict(&qwen(), &wanted(), CpuKind::Avx2);
    let fits = |bytes, held| check("q:x", &qwen(), &wanted(), CpuKind::Avx2, &room(bytes), held, &[]);
    assert_eq!(fits(need.total(), 0), Ok(need));
    assert_eq!(fits(need.total() - 1, 0).unwrap_err().code, Code::InsufficientMemory);
    let e = fits(need.total(), 50 * MIB).unwrap_err();
    assert!(e.message.contains("less 50.0 MiB of loaded models"), "{}", e.message);
}

#[test]
fn a_refusal_names_figures_and_ways_out() {
    let (shape, w, cpu) = (qwen(), Wanted { n_ctx: 32_768, ..wanted() }, CpuKind::Avx2);
    let total = predict(&shape, &w, cpu).total();
    let smaller = Shape { weight_bytes: 100_000_000, matrices: vec![], ..qwen() };
    let others = [Other { name: "q:q4_0", shape: &smaller }, Other { name: "q:f16", shape: &shape }];
    // A little over half of the cache is missing.
    let e = check("q:x", &shape, &w, cpu, &room(total - 190 * MIB), 0, &others).unwrap_err();
    for part in [
        "q:x needs 8",
        "weights 372.9 MiB",
        "key-value cache 384.0 MiB for 32768 tokens",
        "the system's available memory",
        "a context of 1",
        "a key-value cache of type q4_0; or",
        "q:q4_0, which needs",
    ] {
        assert!(e.message.contains(part), "'{part}' in: {}", e.message);
    }
    assert!(!e.message.contains("q:f16"), "{}", e.message);

    let e = check("q:x", &shape, &w, cpu, &room(total - 330 * MIB), 0, &[]).unwrap_err();
    assert!(e.message.contains("type q8_0 with a context of"), "{}", e.message);
    let e = check("q:x", &shape, &w, cpu, &room(100 * MIB), 0, &others).unwrap_err();
    assert!(e.message.contains("Nothing of it fits: free memory"), "{}", e.message);

    // Heads of 80 elements are no whole blocks of 32.
    let odd = Shape { kv_row_multiple: 80, ..qwen() };
    let e = check("q:x", &odd, &w, cpu, &room(total - 10 * MIB), 0, &[]).unwrap_err();
    assert!(e.message.contains("a context of") && !e.message.contains("type q"), "{}", e.message);
}

#[test]
fn the_longest_context_is_the_longest() {
    let (shape, w, cpu) = (qwen(), Wanted { n_ctx: 32_768, ..wanted() }, CpuKind::Avx2);
    let fits = |n_ctx, room| predict(&shape, &Wanted { n_ctx, ..w }, cpu).total() <= room;
    for n in [256, 512, 4096, 32_512] {
        let room = predict(&shape, &Wanted { n_ctx: n, ..w }, cpu).total();
        let found = longest_context(&shape, &w, cpu, room).unwrap();
        assert_eq!(found, n);
        assert!(fits(found, room) && !fits(found + 256, room));
    }
    assert_eq!(longest_context(&shape, &w, cpu, 100 * MIB), None);
}

#[test]
fn a_header_gives_its_shape() {
    use crate::models::gguf::write::{TensorSpec, Writer};
    let mut meta = Writer::default();
    meta.string("general.architecture", "x")
        .u32("x.block_count", 3)
        .u32("x.context_length", 8)
        .u32("x.embedding_length", 64)
        .u32("x.attention.head_count", 2)
        .i32s("x.attention.head_count_kv", [0, 1, 2].into_iter())
        .u32("x.attention.value_length", 48)
        .u32("x.attention.sliding_window", 512)
        .strings("tokenizer.ggml.merges", ["a b"].iter());
    let t = |name: &str, shape: &[u64], kind| TensorSpec { name: name.into(), shape: shape.into(), kind };
    let tensors = [
        t("token_embd.weight", &[64, 8], GgmlType::F16),
        t("blk.0.ffn_up.weight", &[64, 8], GgmlType::Q4_0),
        t("blk.0.odd.weight", &[64, 7], GgmlType::Q4_0),
        t("output_norm.weight", &[64], GgmlType::F32),
    ];
    let mut file = meta.finish(&tensors);
    file.resize(file.len() + 4096, 0);
    let s = Shape::of(&Header::read(std::io::Cursor::new(file)).unwrap());
    assert_eq!((s.k_elements, s.v_elements, s.kv_row_multiple, s.head_width), (3 * 32, 3 * 48, 16, 48));
    assert_eq!(s.matrices, [(GgmlType::Q4_0, 8 * 36)]);
    assert_eq!(s.embedding, (GgmlType::F16, 1024));
    assert!(s.tied && s.sliding && s.merges == 1);
    assert_eq!(s.weight_bytes, 1024 + 8 * 36 + 7 * 36 + 256);
}

fn gpu(unified: bool, total: u64, free: u64) -> GpuInfo {
    let id = crate::lane::GpuId { name: "gpu0".into(), module: "vulkan".into(), ggml: "Vulkan0".into() };
    GpuInfo { id, description: "chip".into(), bus: None, unified, memory_total: total, memory_free: free }
}

#[test]
fn a_gpu_holds_the_weights_and_where_it_shares_memory_they_count_there() {
    let (shape, w) = (qwen(), wanted());
    let apart = predict_on_gpu(&shape, &w, false);
    assert_eq!(apart.device, shape.weight_bytes + kv(&shape, &w) + compute(&shape, &w) + GPU_STAGING);
    // The embedding is looked up here; nothing else of the weights stays.
    assert_eq!((apart.host.mapped, apart.host.repacked, apart.host.kv), (shape.embedding.1, 0, 0));
    let shared = predict_on_gpu(&shape, &w, true);
    assert_eq!(shared.device, apart.device);
    assert_eq!(shared.host.total(), apart.host.total() + apart.device);
    let untied = predict_on_gpu(&Shape { tied: false, ..shape.clone() }, &w, false);
    assert_eq!(apart.device - untied.device, shape.embedding.1);
}

#[test]
fn what_a_gpu_cannot_hold_is_refused_with_the_figures() {
    let (shape, w) = (qwen(), wanted());
    let room = Available { bytes: 4 << 30, source: "free".into() };
    let check = |gpu: &GpuInfo, room: &Available| check_on_gpu("m:q", &shape, &w, gpu, room, 0);
    assert!(check(&gpu(false, 8 << 30, 8 << 30), &room).is_ok());
    let full = check(&gpu(false, 8 << 30, 100 << 20), &room).unwrap_err();
    assert_eq!(full.code, Code::InsufficientMemory);
    assert!(full.message.contains("memory of gpu0 (chip)"), "{full}");
    // The memory is shared: what the driver calls free does not count, what the machine has does.
    assert!(check(&gpu(true, 8 << 30, 0), &room).is_ok());
    let tight = Available { bytes: 512 << 20, ..room };
    let shared = check(&gpu(true, 8 << 30, 8 << 30), &tight).unwrap_err();
    assert!(shared.message.contains("(free)"), "{shared}");
    assert!(check(&gpu(false, 8 << 30, 8 << 30), &tight).is_ok());
}
