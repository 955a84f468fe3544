//! A bilinear layer in Rust, its tensor and its gradient; main answers test vectors.
//!
//!     y = w_out (a * b) + b_out + w_skip x,   a = w_left x + b_left,   b = w_right x + b_right
//!
//!     rustc --edition 2021 -O bilinear.rs      (--cfg single for the vectors of dtype f32)
//!     ./bilinear core.txt > results.txt
use std::collections::BTreeMap;

#[cfg(not(single))]
type Real = f64;
#[cfg(single)]
type Real = f32;

/// The numbers of an array in C order, and its shape.
type Array = (Vec<usize>, Vec<Real>);
/// Arrays by name; an absent parameter is not there.
type Arrays = BTreeMap<String, Array>;

fn zeros(shape: &[usize]) -> Array { (shape.to_vec(), vec![0.0; shape.iter().product()]) }

fn dot(a: &[Real], b: &[Real]) -> Real { a.iter().zip(b).map(|(a, b)| a * b).sum() }

/// Row `r` of a matrix.
fn row(w: &Array, r: usize) -> &[Real] { &w.1[r * w.0[1]..(r + 1) * w.0[1]] }

fn entry(b: Option<&Array>, r: usize) -> Real { b.map_or(0.0, |b| b.1[r]) }

/// d_in, d_hidden, d_out
fn sizes(layer: &Arrays) -> (usize, usize, usize) {
    let (hidden, inputs) = (layer["w_left"].0[0], layer["w_left"].0[1]);
    (inputs, hidden, layer.get("w_out").map_or(hidden, |w| w.0[0]))
}

/// The two factors of every product, w_left x + b_left and w_right x + b_right.
fn factors(layer: &Arrays, x: &[Real]) -> (Vec<Real>, Vec<Real>) {
    let affine = |w: &str, b: &str| {
        (0..layer[w].0[0]).map(|h| dot(row(&layer[w], h), x) + entry(layer.get(b), h)).collect()
    };
    (affine("w_left", "b_left"), affine("w_right", "b_right"))
}

fn forward(layer: &Arrays) -> Arrays {
    let (x, (_, _, d_out)) = (&layer["x"], sizes(layer));
    let mut y = zeros(&[x.0[0], d_out]);
    for n in 0..x.0[0] {
        let (a, b) = factors(layer, row(x, n));
        let ab: Vec<Real> = a.iter().zip(&b).map(|(a, b)| a * b).collect();
        for o in 0..d_out {
            let product = layer.get("w_out").map_or_else(|| ab[o], |w| dot(row(w, o), &ab));
            let skip = layer.get("w_skip").map_or(0.0, |w| dot(row(w, o), row(x, n)));
            y.1[n * d_out + o] = product + entry(layer.get("b_out"), o) + skip;
        }
    }
    Arrays::from([("y".into(), y)])
}

/// tensor[o, i, j] = sum over h of w_out[o, h] (left[h, i] right[h, j] + left[h, j] right[h, i]) / 2,
/// for j <= i; with a bias or a skip path over [x; 1], where left is [w_left, b_left].
fn tensor(layer: &Arrays) -> Arrays {
    let (d_in, d_hidden, d_out) = sizes(layer);
    let constant = ["b_left", "b_right", "b_out", "w_skip"].iter().any(|b| layer.contains_key(*b));
    let at = |w: &str, b: &str, h: usize, i: usize| {
        if i < d_in { row(&layer[w], h)[i] } else { entry(layer.get(b), h) }
    };
    let (left, right) = (|h, i| at("w_left", "b_left", h, i), |h, i| at("w_right", "b_right", h, i));
    let pair = |h, i, j| (left(h, i) * right(h, j) + left(h, j) * right(h, i)) / 2.0;
    let d = d_in + usize::from(constant);
    let mut tensor = (vec![d_out, d * (d + 1) / 2], vec![]);
    for o in 0..d_out {
        for (i, j) in (0..d).flat_map(|i| (0..=i).map(move |j| (i, j))) {
            let mut sum = match layer.get("w_out") {
                Some(w) => (0..d_hidden).map(|h| row(w, o)[h] * pair(h, i, j)).sum(),
                None => pair(o, i, j),
            };
            if i == d_in && j < d_in { sum += layer.get("w_skip").map_or(0.0, |w| row(w, o)[j] / 2.0); }
            if j == d_in { sum += entry(layer.get("b_out"), o); }
            tensor.1.push(sum);
        }
    }
    Arrays::from([("tensor".into(), tensor)])
}

/// The gradient of every parameter that is there, and of x:  s = w_out' dy,  da = s b,  db = s a.
fn backward(layer: &Arrays) -> Arrays {
    let (x, dy, (d_in, d_hidden, d_out)) = (&layer["x"], &layer["dy"], sizes(layer));
    let mut found: Arrays = layer.iter().filter(|(name, _)| *name != "dy")
        .map(|(name, a)| (name.clone(), zeros(&a.0))).collect();
    let mut add = |name: &str, index: usize, term: Real| {
        if let Some(gradient) = found.get_mut(name) { gradient.1[index] += term; }
    };
    for n in 0..x.0[0] {
        let ((a, b), dy) = (factors(layer, row(x, n)), row(dy, n));
        for h in 0..d_hidden {
            let s = match layer.get("w_out") {
                Some(w) => (0..d_out).map(|o| row(w, o)[h] * dy[o]).sum(),
                None => dy[h],
            };
            add("b_left", h, s * b[h]);
            add("b_right", h, s * a[h]);
            for i in 0..d_in {
                add("w_left", h * d_in + i, s * b[h] * row(x, n)[i]);
                add("w_right", h * d_in + i, s * a[h] * row(x, n)[i]);
                add("x", n * d_in + i, row(&layer["w_left"], h)[i] * (s * b[h]));
                add("x", n * d_in + i, row(&layer["w_right"], h)[i] * (s * a[h]));
            }
            for o in 0..d_out { add("w_out", o * d_hidden + h, dy[o] * (a[h] * b[h])); }
        }
        for o in 0..d_out {
            add("b_out", o, dy[o]);
            for i in 0..d_in {
                add("w_skip", o * d_in + i, dy[o] * row(x, n)[i]);
                add("x", n * d_in + i, layer.get("w_skip").map_or(0.0, |w| row(w, o)[i] * dy[o]));
            }
        }
    }
    found
}

/// A number of the vectors: an integer, a hexadecimal float, nan, inf or -inf.
fn number(word: &str) -> Option<f64> {
    let (sign, size) = word.strip_prefix('-').map_or((1.0, word), |rest| (-1.0, rest));
    let Some(hexadecimal) = size.strip_prefix("0x") else { return word.parse().ok() };
    let (digits, power) = hexadecimal.split_once('p')?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut value = u64::from_str_radix(&format!("{whole}{fraction}"), 16).ok()? as f64;
    let mut power = power.parse::<i32>().ok()? - 4 * fraction.len() as i32;
    while power < -1000 { value *= 2f64.powi(-500); power += 500; } // 2^power alone would underflow
    Some(sign * value * 2f64.powi(power))
}

/// A line is `tcId name dtype ndim sizes... values...`.
fn array(words: &[&str]) -> Option<Array> {
    let (shape, values) = words[1..].split_at_checked(words[0].parse().ok()?)?;
    let shape: Vec<usize> = shape.iter().map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let data: Vec<Real> = values.iter().map(|word| Some(number(word)? as Real)).collect::<Option<_>>()?;
    (shape.iter().product::<usize>() == data.len()).then_some((shape, data))
}

fn answer(id: &str, op: &str, inputs: &Arrays) {
    let outputs = match op {
        "forward" => forward(inputs),
        "tensor" => tensor(inputs),
        "backward" => backward(inputs),
        _ => return,
    };
    for (name, (shape, data)) in outputs {
        print!("{id} {name} f{} {}", 8 * size_of::<Real>(), shape.len());
        shape.iter().for_each(|size| print!(" {size}"));
        data.iter().for_each(|v| print!(" {}", format!("{v:e}").to_lowercase()));
        println!();
    }
}

fn main() {
    let text = match std::env::args().nth(1) {
        Some(path) => std::fs::read_to_string(path),
        None => std::io::read_to_string(std::io::stdin()),
    };
    let text = text.expect("vectors as flat text");
    let (mut id, mut op, mut inputs) = ("", "", Arrays::new());
    for line in text.lines().filter(|line| !line.starts_with('#')).chain(["0 op text 0 end"]) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            [next_id, "op", "text", "0", next_op] => {
                answer(id, op, &inputs);
                (id, op, inputs) = (next_id, next_op, Arrays::new());
            }
            [_, _, "f64", ..] if size_of::<Real>() == 4 => op = "",
            [_, name, _, _, ..] => if let Some(name) = name.strip_prefix("inputs.") {
                let array = array(&words[3..]).unwrap_or_else(|| panic!("malformed line: {line}"));
                inputs.insert(name.into(), array);
            }
            _ => panic!("malformed line: {line}"),
        }
    }
}
